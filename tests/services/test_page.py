"""The page of `ferops serve`, used in a browser as people use it: by mouse, keyboard, camera and ear."""

import base64
import io
import json
import math
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from predict.pictures import encoded, portrait, temple, with_face
from predict.serving import served
from support import ROOT

from ferops.data.synthetic.portraits import render_face
from ferops.labels import NAMES
from ferops.predict.detection import Picture

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = Path("/usr/bin/chromium")
pytestmark = [
    pytest.mark.services,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="needs chromium; Debian: apt-get install chromium"),
]

TOKEN = "a-secret-token"

CONTRASTS = """() => {
    const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
    const light = (colour) => {
        const [red, green, blue] = colour.map((part) => part / 255)
            .map((part) => (part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
    };
    const behind = (element) => {
        for (; element; element = element.parentElement) {
            const colour = rgb(getComputedStyle(element).backgroundColor);
            if (colour.length === 3) return colour;
        }
    };
    const nodes = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = [];
    while (nodes.nextNode()) {
        const element = nodes.currentNode.parentElement;
        if (!nodes.currentNode.data.trim() || !element.checkVisibility()) continue;
        const ends = [rgb(getComputedStyle(element).color), behind(element)].map(light);
        found.push([nodes.currentNode.data.trim(), (Math.max(...ends) + 0.05) / (Math.min(...ends) + 0.05)]);
    }
    return found;
}"""
"""Each text that is seen, and its contrast as WCAG 2 defines it."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with served() as server:
        yield server.url


@pytest.fixture(scope="module")
def driver() -> Iterator["sync_api.Playwright"]:
    with sync_api.sync_playwright() as started:
        yield started


def chromium(driver: "sync_api.Playwright", *options: str) -> "sync_api.Browser":
    return driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *options])


@pytest.fixture(scope="module")
def browser(driver: "sync_api.Playwright") -> Iterator["sync_api.Browser"]:
    started = chromium(driver)
    yield started
    started.close()


@contextmanager
def opened(browser: "sync_api.Browser", address: str, **options: Any) -> Iterator["sync_api.Page"]:
    """Open the page; at the end nothing was asked of another origin, and the browser had nothing to complain of."""
    context = browser.new_context(**{"reduced_motion": "reduce", **options})
    page = context.new_page()
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("console", lambda message: said.append(message.text))
    page.goto(address)
    yield page
    context.close()
    assert [url for url in asked if not url.startswith((f"{address}/", f"blob:{address}/", "data:"))] == []
    assert [text for text in said if not text.startswith("Failed to load resource")] == []


@pytest.fixture
def page(browser: "sync_api.Browser", address: str) -> Iterator["sync_api.Page"]:
    with opened(browser, address) as page:
        yield page


def ask(address: str, *pictures: bytes) -> list[dict[str, Any]]:
    """Return the API's own predictions."""
    body = json.dumps({"pictures": [base64.b64encode(picture).decode() for picture in pictures]}).encode()
    request = urllib.request.Request(f"{address}/predict", body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)["predictions"]
    except urllib.error.HTTPError as error:
        return json.load(error)["predictions"]


def give(page: "sync_api.Page", *files: tuple[str, bytes]) -> None:
    """Choose files, and wait for all answers."""
    chosen = [{"name": name, "mimeType": "", "buffer": content} for name, content in files]
    page.locator("#files").set_input_files(chosen)
    settle(page)


def settle(page: "sync_api.Page") -> None:
    page.locator(".result").first.wait_for()
    sync_api.expect(page.locator("[aria-busy]")).to_have_count(0, timeout=60_000)


def percent(share: float) -> str:
    return f"{math.floor(100 * share + 0.5)}%"


def described(face: dict[str, Any]) -> str:
    return f"{face['label']} {percent(face['probability'])}{' (uncertain)' if face['uncertain'] else ''}"


def boxes(result: "sync_api.Locator", size: Sequence[int]) -> list[list[float]]:
    """Return where the boxes are seen, in pixels of a picture of a width and height."""
    picture = result.locator(".stage > :first-child").bounding_box()
    scale = size[0] / picture["width"], size[1] / picture["height"]
    assert scale[0] == pytest.approx(scale[1], rel=0.01), "the picture is not distorted"
    seen = [box.bounding_box() for box in result.locator(".box").all()]
    return [
        [
            (box["x"] - picture["x"]) * scale[0],
            (box["y"] - picture["y"]) * scale[1],
            box["width"] * scale[0],
            box["height"] * scale[1],
        ]
        for box in seen
    ]


def assert_shows(result: "sync_api.Locator", faces: list[dict[str, Any]], size: Sequence[int]) -> None:
    """Check that the result shows these faces of a picture of a width and height: each box, bar and number."""
    assert boxes(result, size) == [pytest.approx(face["box"], abs=size[0] / 200) for face in faces]
    for number, (card, face) in enumerate(zip(result.locator(".face").all(), faces, strict=True), 1):
        assert card.get_by_role("button").inner_text().split(maxsplit=1) == [str(number), described(face)]
        shares = list(face["probabilities"].values())
        assert card.locator("li .label").all_inner_texts() == list(NAMES)
        assert card.locator("li .percent").all_inner_texts() == list(map(percent, shares))
        assert card.locator("li.top .label").all_inner_texts() == [face["label"]]
        drawn = "bars => bars.map(bar => parseFloat(getComputedStyle(bar, '::before').width) / bar.clientWidth)"
        assert card.locator(".bar").evaluate_all(drawn) == pytest.approx(shares, abs=0.01)


def with_exif(picture: Picture, **tags: Any) -> bytes:
    """Return a JPEG with an orientation, or a density of twice 72 dots an inch as some cameras' and screens' have."""
    image, exif = Image.fromarray(picture), Image.Exif()
    if "orientation" in tags:
        exif[0x112] = tags["orientation"]
        image = image.transpose({6: Image.Transpose.ROTATE_90, 2: Image.Transpose.FLIP_LEFT_RIGHT}[exif[0x112]])
    else:
        exif[0x11A] = exif[0x11B] = 144.0
        exif[0x128] = 2
        exif.get_ifd(0x8769).update({0xA002: image.width // 2, 0xA003: image.height // 2})
    stream = io.BytesIO()
    image.save(stream, "JPEG", exif=exif)
    return stream.getvalue()


PICTURES = {
    "a.png": encoded(with_face(300, 200, 1.2)),
    "a.webp": encoded(with_face(800, 20, 0.6), ".webp"),
    "two.jpg": encoded(np.concatenate([portrait(), portrait()], axis=1), ".jpg"),
    "turned.jpg": with_exif(portrait(), orientation=6),
    "mirrored.jpg": with_exif(with_face(300, 200, 1.2), orientation=2),
    "dense.jpg": with_exif(portrait()),
    "small.jpg": encoded(cv2.resize(portrait(), (100, 117)), ".jpg"),
}
SIZES = {"turned.jpg": (512, 600), "two.jpg": (1024, 600), "dense.jpg": (512, 600), "small.jpg": (100, 117)}


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_shown_with_the_boxes_and_bars_of_the_api(page: "sync_api.Page", address: str, name: str) -> None:
    (prediction,) = ask(address, PICTURES[name])
    give(page, (name, PICTURES[name]))
    result = page.locator(".result")
    assert len(prediction["faces"]) == (2 if name == "two.jpg" else 1)
    assert_shows(result, prediction["faces"], SIZES.get(name, (1200, 900)))
    count = "1 face" if len(prediction["faces"]) == 1 else "2 faces"
    said = f"{count}: {', '.join(map(described, prediction['faces']))}"
    assert page.get_by_role("status").inner_text() == result.locator(".sentence").inner_text() == said
    assert result.locator(".model").inner_text() == f"Answered by {prediction['model']}"


def test_each_of_several_pictures_has_its_own_answer(page: "sync_api.Page") -> None:
    tiff, text = encoded(portrait(), ".tiff"), b"no picture"
    give(page, ("a.jpg", PICTURES["two.jpg"]), ("b.txt", text), ("c.tiff", tiff), ("d.png", encoded(temple())))
    results = page.get_by_role("article")
    assert results.get_by_role("heading").all_inner_texts() == ["a.jpg", "b.txt", "c.tiff", "d.png"]
    said = results.locator(".sentence").all_inner_texts()
    assert said[0].startswith("2 faces: ")
    assert said[1].startswith("Not read: no image that is read here. Send a JPEG")
    assert said[2].startswith("1 face: ")
    assert said[3].startswith("No face was found. Try")
    assert results.get_by_text("This browser cannot show such a picture.").locator("visible=true").count() == 1
    assert page.get_by_role("status").inner_text() == "4 pictures: 3 faces, 1 without an answer"
    page.get_by_role("button", name="Clear").click()
    assert results.count() == 0


def drop(page: "sync_api.Page", *files: Path, text: str = "") -> None:
    """Drop files, or a text, on the page, as the browser hands them over."""
    items = [{"mimeType": "text/plain", "data": text}] if text else []
    data = {"items": items, "files": list(map(str, files)), "dragOperationsMask": 1}
    session = page.context.new_cdp_session(page)
    for kind in ("dragEnter", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {"type": kind, "x": 200, "y": 200, "data": data})


def test_two_drops_one_after_the_other_do_not_mix(
    driver: "sync_api.Playwright", browser: "sync_api.Browser", tmp_path: Path
) -> None:
    rng = np.random.default_rng(1)
    faces = {f"{at}.png": encoded(render_face(at % 7, rng)) for at in range(50)}
    for name, content in faces.items():
        (tmp_path / name).write_bytes(content)
    with served("--detector", "none") as server, opened(browser, server.url) as page:
        drop(page, *(tmp_path / name for name in list(faces)[:25]))
        drop(page, *(tmp_path / name for name in list(faces)[25:]))
        settle(page)
        names = page.get_by_role("article").get_by_role("heading").all_inner_texts()
        assert names == list(faces)[25:] + list(faces)[:25], "the newest come first"
        own = {name: ask(server.url, content)[0]["faces"] for name, content in faces.items()}
        assert len({described(face) for (face,) in own.values()}) > 20
        for result, name in zip(page.get_by_role("article").all(), names, strict=True):
            assert_shows(result, own[name], (48, 48))


def test_a_folder_or_a_text_that_is_dropped_is_explained(page: "sync_api.Page", tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    drop(page, tmp_path / "folder")
    settle(page)
    assert page.locator(".sentence").inner_text() == "It cannot be opened. If it is a folder, drop the pictures in it."
    drop(page, text="some words")
    assert page.get_by_role("alert").inner_text() == "That is no file. Save the picture, and drop its file here."


def test_a_picture_is_pasted(browser: "sync_api.Browser", address: str) -> None:
    with opened(browser, address, permissions=["clipboard-read", "clipboard-write"]) as page:
        copy = """async (content) => {
            const bytes = Uint8Array.from(atob(content), (sign) => sign.charCodeAt());
            await navigator.clipboard.write([new ClipboardItem({"image/png": new Blob([bytes], {type: "image/png"})})]);
        }"""
        page.evaluate(copy, base64.b64encode(PICTURES["a.png"]).decode())
        page.keyboard.press("Control+V")
        settle(page)
        assert_shows(page.get_by_role("article"), ask(address, PICTURES["a.png"])[0]["faces"], (1200, 900))
        page.evaluate("navigator.clipboard.writeText('words')")
        page.keyboard.press("Control+V")
        assert page.get_by_role("alert").inner_text() == "There is no picture in the clipboard."


def test_a_face_is_selected_by_its_box_and_by_the_keyboard(page: "sync_api.Page") -> None:
    give(page, ("two.jpg", PICTURES["two.jpg"]))
    (one, other), (first, second) = page.locator(".box").all(), page.locator(".face").all()

    def selected() -> list[bool]:
        cards = [card.get_by_role("button").get_attribute("aria-pressed") == "true" for card in (first, second)]
        framed = [box.evaluate("box => getComputedStyle(box).boxShadow !== 'none'") for box in (one, other)]
        assert framed == cards, "the box and the bars are highlighted together"
        return cards

    assert selected() == [False, False]
    other.click()
    assert selected() == [False, True]
    first.get_by_role("button").press("Enter")
    assert selected() == [True, False]
    first.get_by_role("button").press("Space")
    assert selected() == [False, False]


def test_all_of_it_works_by_keyboard_alone(page: "sync_api.Page") -> None:
    def focused() -> str:
        focus = page.locator(":focus")
        ring = "(one) => getComputedStyle(one.closest('label') ?? one).outlineStyle"
        assert focus.evaluate(ring) == "solid", "the focus is seen"
        return focus.evaluate("one => one.labels?.[0]?.innerText ?? one.innerText").replace("\n", " ").strip()

    def tab(times: int) -> list[str]:
        return [page.keyboard.press("Tab") or focused() for _ in range(times)]

    assert tab(3) == ["Model and limits", "Choose pictures", "Use the camera"]
    choosers: list[sync_api.FileChooser] = []
    page.on("filechooser", lambda chooser: choosers.append(chooser))
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    page.wait_for_timeout(500)
    choosers[0].set_files([{"name": "two.jpg", "mimeType": "image/jpeg", "buffer": PICTURES["two.jpg"]}])
    settle(page)
    assert focused() == "Choose pictures"
    stops = tab(4)
    assert stops[:2] == ["Use the camera", "Clear"]
    assert [stop.split()[0] for stop in stops[2:]] == ["1", "2"]
    page.keyboard.press("Enter")
    assert page.get_by_role("button", pressed=True).inner_text().split()[0] == "2"
    for _ in range(2):
        page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    assert page.get_by_role("article").count() == 0
    assert focused() == "Choose pictures", "the focus is not lost with the button"
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    page.get_by_role("dialog", name="Model and limits").wait_for()
    page.keyboard.press("Escape")
    assert page.get_by_role("dialog").count() == 0
    assert focused() == "Model and limits"


def test_the_card_says_which_network_it_is_how_good_and_what_it_is_not_for(page: "sync_api.Page", address: str) -> None:
    page.get_by_role("button", name="Model and limits").click()
    page.get_by_role("term").nth(5).wait_for()
    said = page.get_by_role("dialog").inner_text()
    with urllib.request.urlopen(f"{address}/model") as answer:
        model = json.load(answer)
    card = model["card"]
    for text in (
        model["name"],
        model["digest"],
        f"{percent(card['accuracy'])} of {card['n']:,} images ({card['split']})",
        f"less than {percent(card['uncertain_below'])}",
        f"{model['limits']['body_mebibytes']} MiB",
        "No decisions about people",
        "at the workplace and in education is prohibited",
        "Art. 5(1)(f)",
        "65%",
    ):
        assert text in said
    assert "Nothing is stored" in page.get_by_role("main").inner_text()


def test_a_network_without_a_card_is_said_to_have_none(browser: "sync_api.Browser") -> None:
    with served("--model", str(ROOT / "weights/lean_cnn.keras")) as server, opened(browser, server.url) as page:
        page.get_by_role("button", name="Model and limits").click()
        sync_api.expect(page.get_by_role("dialog")).to_contain_text("Not known: it came without a card.")


def test_a_screen_reader_has_names_for_everything(page: "sync_api.Page") -> None:
    give(page, ("two.jpg", PICTURES["two.jpg"]))
    tree = page.locator("body").aria_snapshot()
    for part in (
        "- banner:",
        'heading "Expressions in pictures" [level=1]',
        "- main:",
        'region "Drop pictures here, or paste one"',
        'button "Choose pictures"',
        'button "Use the camera"',
        "status: ",
        'region "Answers"',
        'img "two.jpg"',
        'heading "two.jpg" [level=3]',
    ):
        assert part in tree
    assert tree.count("- listitem:") >= 2
    assert [line for line in tree.splitlines() if line.strip().startswith(("- button:", "- img:", "- textbox:"))] == []


@pytest.mark.parametrize("width", [320, 375, 768, 1920])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_both_designs_are_readable_at_every_width(
    browser: "sync_api.Browser", address: str, scheme: Any, width: int
) -> None:
    with opened(browser, address, color_scheme=scheme, viewport={"width": width, "height": 800}) as page:
        long = "a" * 200 + ".jpg"
        give(page, (long, PICTURES["two.jpg"]), ("b.txt", b"no picture"), ("c.jpg", PICTURES["small.jpg"]))
        page.locator(".face button").first.click()
        seen = page.evaluate(CONTRASTS)
        page.get_by_role("button", name="Model and limits").click()
        page.get_by_role("term").nth(5).wait_for()
        seen += page.evaluate(CONTRASTS)
        assert len(seen) > 50
        assert [(text, round(ratio, 2)) for text, ratio in seen if ratio < 4.5] == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_memory_of_pictures_is_given_back(browser: "sync_api.Browser", address: str) -> None:
    context = browser.new_context()
    context.add_init_script("""window.kept = new Set(); const {createObjectURL, revokeObjectURL} = URL;
        URL.createObjectURL = (file) => { const url = createObjectURL(file); kept.add(url); return url; };
        URL.revokeObjectURL = (url) => { kept.delete(url); revokeObjectURL(url); };""")
    page = context.new_page()
    page.goto(address)
    give(page, ("a.png", PICTURES["a.png"]), ("b.txt", b"no picture"))
    assert page.evaluate("kept.size") == 0
    context.close()


def test_too_large_a_file_is_explained(page: "sync_api.Page", tmp_path: Path) -> None:
    large = tmp_path / "large.jpg"
    large.write_bytes(encoded(portrait(), ".jpg") + bytes(100 << 20))
    page.locator("#files").set_input_files(large)
    settle(page)
    assert page.locator(".sentence").inner_text() == "It is too large for this server. Send a smaller copy of it."


def test_a_slow_server_is_explained(browser: "sync_api.Browser") -> None:
    with served(limits={"seconds": 0.001}) as server, opened(browser, server.url) as page:
        give(page, ("a.png", PICTURES["a.png"]))
        said = "The server took too long. Try again, or send a smaller picture."
        assert page.locator(".sentence").inner_text() == said


@pytest.mark.parametrize(
    ("seconds", "then", "at_last"),
    [(2, "Waiting for the answer …", "1 face"), (8, *["The server has too much to do. Try again in a minute."] * 2)],
)
def test_a_busy_server_is_asked_again_a_few_times(
    browser: "sync_api.Browser", seconds: int, then: str, at_last: str
) -> None:
    head = "POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n"
    with served(limits={"requests": 1}) as server, opened(browser, server.url) as page:
        with socket.create_connection(server.place) as other:
            other.sendall(head.encode() + b"{")  # and the rest of the body does not come
            page.wait_for_timeout(300)
            page.locator("#files").set_input_files([{"name": "a.png", "mimeType": "", "buffer": PICTURES["a.png"]}])
            page.wait_for_timeout(1000 * seconds)
            assert page.locator(".sentence").inner_text() == then
        settle(page)
        assert page.locator(".sentence").inner_text().startswith(at_last)


def test_a_server_that_has_ended_is_explained(browser: "sync_api.Browser") -> None:
    with served() as server:
        page = browser.new_page()
        page.goto(server.url)
    give(page, ("a.png", PICTURES["a.png"]))
    assert page.locator(".sentence").inner_text() == "The server cannot be reached. Is it still running?"
    page.close()


def test_the_token_is_asked_for_and_forgotten_with_the_page(browser: "sync_api.Browser") -> None:
    with served(FEROPS_TOKEN=TOKEN) as server, opened(browser, server.url) as page:
        field = page.get_by_label("This server asks for a token.")
        sync_api.expect(field).to_be_focused()
        chosen = [{"name": name, "mimeType": "", "buffer": PICTURES[name]} for name in ("a.png", "two.jpg")]
        page.locator("#files").set_input_files(chosen)
        field.fill("wrong")
        field.press("Enter")
        again = page.get_by_label("The server does not accept this token.")
        again.fill(TOKEN)
        again.press("Enter")
        settle(page)
        assert page.locator(".face").count() == 3
        assert page.locator("#token-form").is_hidden()
        assert page.evaluate("Object.keys(localStorage).length + Object.keys(sessionStorage).length") == 0
        assert page.evaluate("document.cookie") == page.locator("#token").input_value() == ""
        page.reload()
        field.wait_for()


@pytest.fixture(scope="module")
def camera(driver: "sync_api.Playwright", tmp_path_factory: pytest.TempPathFactory) -> Iterator["sync_api.Browser"]:
    """A browser with a camera, before which is the portrait."""
    film = tmp_path_factory.mktemp("camera") / "film.mjpeg"
    film.write_bytes(encoded(frame(), ".jpg") * 10)
    fake = ("--use-fake-device-for-media-stream", f"--use-file-for-fake-video-capture={film}")
    started = chromium(driver, *fake, "--use-fake-ui-for-media-stream")
    yield started
    started.close()


def frame() -> Picture:
    """What the camera sees, 640 x 480."""
    seen = np.full((480, 640, 3), 90, np.uint8)
    seen[:, 200:610] = cv2.resize(portrait(), (410, 480))
    return seen


def test_the_camera_sends_one_frame_at_a_time_and_its_last_one_stays(camera: "sync_api.Browser", address: str) -> None:
    with opened(camera, address) as page:
        way = [0]
        page.on("request", lambda request: way.append(way[-1] + 1) if "/predict" in request.url else None)
        page.on("requestfinished", lambda request: way.append(way[-1] - 1) if "/predict" in request.url else None)
        page.get_by_role("button", name="Use the camera").click()
        page.locator(".face button").click()
        before = len(way)
        page.wait_for_timeout(2000)
        assert 4 <= (len(way) - before) / 2 <= 14
        assert max(way) == 1
        assert page.locator(".face button").get_attribute("aria-pressed") == "true", "the selection outlives a frame"
        sync_api.expect(page.locator(".face button")).to_be_focused()
        page.get_by_role("button", name="Stop the camera").click()
        page.locator("canvas").wait_for()
        sent = len(way)
        page.wait_for_timeout(500)
        assert len(way) == sent
        (expected,) = ask(address, encoded(frame()))[0]["faces"]
        assert boxes(page.get_by_role("article"), (640, 480)) == [pytest.approx(expected["box"], abs=6)]
        assert page.get_by_role("status").inner_text().startswith("1 face: ")


def test_the_camera_stops_where_the_page_is_hidden(camera: "sync_api.Browser", address: str) -> None:
    with opened(camera, address) as page:
        page.get_by_role("button", name="Use the camera").click()
        page.locator(".face").wait_for()
        stream = page.evaluate_handle("document.querySelector('video').srcObject")
        page.evaluate("""() => {
            Object.defineProperty(document, "hidden", {value: true});
            document.dispatchEvent(new Event("visibilitychange"));
        }""")
        assert stream.evaluate("stream => stream.getTracks().map(track => track.readyState)") == ["ended"]
        assert page.get_by_role("alert").inner_text() == "The camera was stopped while this page was hidden."
        assert page.get_by_role("button", name="Use the camera").is_visible()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "There is no camera. Choose a picture instead."),
        (("--use-fake-device-for-media-stream", "--deny-permission-prompts"), "The camera is blocked for this page."),
    ],
)
def test_a_camera_that_is_missing_or_denied_is_explained(
    driver: "sync_api.Playwright", address: str, options: tuple[str, ...], said: str
) -> None:
    browser = chromium(driver, *options)
    with opened(browser, address) as page:
        page.get_by_role("button", name="Use the camera").click()
        sync_api.expect(page.get_by_role("alert")).to_contain_text(said)
        assert page.get_by_role("button", name="Use the camera").is_visible()
        give(page, ("a.png", PICTURES["a.png"]))
        assert page.get_by_role("alert").count() == 0, "what is over is not complained of"
    browser.close()


def test_a_camera_needs_a_secure_page(driver: "sync_api.Playwright") -> None:
    browser = chromium(driver, "--host-resolver-rules=MAP server.test 127.0.0.1")
    elsewhere = served("--host", "0.0.0.0", FEROPS_TOKEN=TOKEN)
    with elsewhere as server, opened(browser, server.url.replace("0.0.0.0", "server.test")) as page:
        page.get_by_role("button", name="Use the camera").click()
        sync_api.expect(page.get_by_role("alert")).to_contain_text("use https:// or http://localhost")
    browser.close()
