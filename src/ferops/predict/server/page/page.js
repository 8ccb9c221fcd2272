// The page of `ferops serve`: pictures go to POST /predict, and the answers are drawn beside them.

/**
 * @typedef {object} Face
 * @property {[number, number, number, number]} box left, top, width and height in pixels of the picture
 * @property {string} label
 * @property {number} probability of the label, 0-1
 * @property {Record<string, number>} probabilities of the seven expressions
 * @property {boolean} uncertain
 */

/** @typedef {{faces: Face[], model: string}} Prediction */

const AT_ONCE = 3; // pictures of one drop that are on their way
const RETRIES = 4; // of a request that a busy server has put off
const FRAME_MS = 150; // from one frame of the camera to the next, at least
const FRAME_SIDE = 960; // pixels: the longer side of a frame
const SPEECH_MS = 3000; // between two sentences about the camera, for people who listen

const FORMATS = "Send a JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF.";

const REFUSALS = {
  413: "It is too large for this server. Send a smaller copy of it.",
  503: "The server has too much to do. Try again in a minute.",
  504: "The server took too long. Try again, or send a smaller picture.",
};

const NO_CAMERA = {
  NotAllowedError: "The camera is blocked for this page. Allow it in the browser's settings of this site, and try again.",
  NotFoundError: "There is no camera. Choose a picture instead.",
  NotReadableError: "The camera is in use by another program. Close it there, and try again.",
};

const element = (id) => document.getElementById(id);
const copy = (id) => element(id).content.firstElementChild.cloneNode(true);
const percent = (share) => `${Math.round(100 * share)}%`;
const counted = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;
const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

// The server

let token = "";

/**
 * Send a request. A token is asked for where the server wants one; a busy server is asked again when it says.
 * @param {string} path
 * @param {RequestInit} [options]
 * @returns {Promise<Response>}
 */
async function request(path, options) {
  for (let retries = 0; ; ) {
    const sent = token;
    const response = await fetch(path, { ...options, headers: sent ? { Authorization: `Bearer ${sent}` } : {} });
    if (response.status === 401) {
      if (sent === token) await askForToken();
    } else if (response.status === 503 && retries < RETRIES) {
      retries += 1;
      await sleep(1000 * (Number(response.headers.get("Retry-After")) || 1));
    } else {
      return response;
    }
  }
}

/** Show the field for the token, and wait until there is one. */
function askForToken() {
  if (token) element("token-label").textContent = "The server does not accept this token.";
  element("about").close();
  element("token-form").hidden = false;
  element("token").focus();
  return new Promise((resolve) => element("token-form").addEventListener("submit", resolve, { once: true }));
}

function takeToken(event) {
  event.preventDefault();
  token = element("token").value;
  element("token").value = "";
  element("token-form").hidden = true;
}

/**
 * Ask for the faces in a picture.
 * @param {Blob} picture
 * @param {string} name
 * @returns {Promise<Prediction>}
 * @throws {Error} with a sentence that says what to do
 */
async function recognise(picture, name) {
  await picture.slice(0, 1).arrayBuffer().catch(() => {
    throw new Error("It cannot be opened. If it is a folder, drop the pictures in it.");
  });
  const body = new FormData();
  body.append("pictures", picture, name);
  const response = await request("predict", { method: "POST", body }).catch(() => {
    throw new Error("The server cannot be reached. Is it still running?");
  });
  const answer = await response.json().catch(() => ({}));
  const prediction = answer.predictions?.[0];
  if (prediction?.faces) return prediction;
  if (prediction) throw new Error(`Not read: ${prediction.error}.${prediction.error.startsWith("no image") ? ` ${FORMATS}` : ""}`);
  throw new Error(REFUSALS[response.status] ?? answer.detail ?? `The server answered with status ${response.status}.`);
}

// Words

/**
 * Say what was found: `2 faces: happy 93%, neutral 54% (uncertain)`, or how many of each where there are many.
 * @param {Face[]} faces
 * @returns {string}
 */
function sentence(faces) {
  if (!faces.length) return "No face was found. Try one that is larger, or seen from the front.";
  const words = faces.length > 4 ? totals(faces) : faces.map(described);
  return `${counted(faces.length, "face")}: ${words.join(", ")}`;
}

function described(face) {
  return `${face.label} ${percent(face.probability)}${face.uncertain ? " (uncertain)" : ""}`;
}

function totals(faces) {
  const numbers = new Map();
  for (const { label, uncertain } of faces) {
    const name = uncertain ? "uncertain" : label;
    numbers.set(name, (numbers.get(name) ?? 0) + 1);
  }
  return [...numbers].sort((one, other) => other[1] - one[1]).map(([name, number]) => `${number} ${name}`);
}

function announce(words) {
  element("announcement").textContent = words;
}

function complain(words) {
  element("complaint").textContent = words;
}

// Answers

/**
 * Make the place for an answer, beside the image or video that it is about.
 * @param {string} name
 * @param {HTMLElement} medium
 * @returns {HTMLElement}
 */
function makeResult(name, medium) {
  const result = copy("result");
  result.querySelector("h3").textContent = name;
  result.querySelector(".stage").prepend(medium);
  return result;
}

function addResults(results) {
  complain("");
  element("results").prepend(...results);
  element("answers").hidden = false;
}

/** Tell the size of the picture in pixels, of which the places of the boxes are shares. */
function setSize(result, { width, height }) {
  const { style } = result.querySelector(".stage");
  style.setProperty("--picture-width", width);
  style.setProperty("--picture-height", height);
}

/** @type {(result: HTMLElement, prediction: Prediction) => void} */
function show(result, { faces, model }) {
  const boxes = withChildren(result.querySelector(".boxes"), faces.length, "box");
  const cards = withChildren(result.querySelector(".faces"), faces.length, "face");
  faces.forEach((face, at) => {
    drawBox(boxes[at], face, at + 1);
    drawCard(cards[at], face, at + 1);
  });
  result.querySelector(".model").textContent = `Answered by ${model}`;
  finish(result, sentence(faces));
}

function fail(result, error) {
  result.classList.add("failed");
  finish(result, error.message);
}

function finish(result, words) {
  result.querySelector(".sentence").textContent = words;
  result.removeAttribute("aria-busy");
}

/** Make the number of children right; those that stay keep the focus while the camera runs. */
function withChildren(parent, number, template) {
  while (parent.children.length > number) parent.lastElementChild.remove();
  while (parent.children.length < number) parent.append(copy(template));
  return parent.children;
}

function drawBox(box, face, number) {
  ["left", "top", "width", "height"].forEach((side, at) => box.style.setProperty(`--${side}`, face.box[at]));
  box.classList.toggle("uncertain", face.uncertain);
  box.firstElementChild.textContent = number;
}

function drawCard(card, face, number) {
  card.querySelector(".number").textContent = number;
  card.querySelector(".title").textContent = described(face);
  const entries = Object.entries(face.probabilities);
  const bars = withChildren(card.querySelector("ul"), entries.length, "bar");
  entries.forEach(([label, probability], at) => {
    bars[at].classList.toggle("top", label === face.label);
    bars[at].querySelector(".label").textContent = label;
    bars[at].querySelector(".bar").style.setProperty("--share", probability);
    bars[at].querySelector(".percent").textContent = percent(probability);
  });
}

/** Select the face whose box or card was clicked, or none where it was selected. */
function select({ target }) {
  const chosen = target.closest(".box, .face button")?.closest(".box, .face");
  if (!chosen) return;
  const number = [...chosen.parentElement.children].indexOf(chosen);
  const isNew = !chosen.classList.contains("selected");
  const result = chosen.closest(".result");
  for (const list of result.querySelectorAll(".boxes, .faces")) {
    [...list.children].forEach((child, at) => {
      child.classList.toggle("selected", isNew && at === number);
      child.querySelector("button")?.setAttribute("aria-pressed", isNew && at === number);
    });
  }
  if (isNew) result.querySelector(".face.selected").scrollIntoView({ block: "nearest" });
}

function clear() {
  camera?.abort();
  element("results").replaceChildren();
  element("answers").hidden = true;
  element("files").focus();
}

// Pictures

/**
 * Show pictures and ask for their faces, a few at a time, each answer beside its own picture.
 * @param {Iterable<File>} files
 */
async function take(files) {
  const given = [...files].map((file) => ({ file, result: makePicture(file) }));
  const results = given.map(({ result }) => result);
  addResults(results);
  const rest = given.values();
  const work = async () => {
    for (const { file, result } of rest) if (result.isConnected) await answer(file, result);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  const shown = results.filter((result) => result.isConnected); // the others were cleared away
  if (shown.length) announce(shown.length === 1 ? shown[0].querySelector(".sentence").textContent : summary(shown));
}

async function answer(file, result) {
  try {
    const [prediction] = await Promise.all([recognise(file, file.name), measure(file, result)]);
    show(result, prediction);
  } catch (error) {
    fail(result, error);
  }
}

function summary(results) {
  const faces = results.reduce((sum, result) => sum + result.querySelectorAll(".face").length, 0);
  const failed = results.filter((result) => result.matches(".failed")).length;
  return `${counted(results.length, "picture")}: ${counted(faces, "face")}${failed ? `, ${failed} without an answer` : ""}`;
}

function makePicture(file) {
  const image = new Image();
  const result = makeResult(file.name, image);
  image.alt = file.name;
  image.addEventListener("error", () => result.classList.add("unshown"));
  for (const event of ["load", "error"]) image.addEventListener(event, () => URL.revokeObjectURL(image.src));
  image.src = URL.createObjectURL(file);
  return result;
}

/** Set the size of a picture: that of the image itself is divided by a density, where EXIF names one. */
async function measure(file, result) {
  const bitmap = await createImageBitmap(file).catch(() => undefined);
  const { naturalWidth, naturalHeight } = result.querySelector("img");
  setSize(result, bitmap ?? { width: naturalWidth, height: naturalHeight });
  bitmap?.close();
}

function drop(event) {
  event.preventDefault();
  document.body.classList.remove("dragging");
  const { files } = event.dataTransfer;
  if (files.length) take(files);
  else complain("That is no file. Save the picture, and drop its file here.");
}

function paste({ target, clipboardData: { files } }) {
  if (files.length) take(files);
  else if (target !== element("token")) complain("There is no picture in the clipboard.");
}

// The camera

/** @type {AbortController | undefined} */
let camera;

function toggleCamera() {
  if (camera) camera.abort();
  else useCamera();
}

async function useCamera() {
  complain("");
  const control = (camera = new AbortController());
  element("camera").textContent = "Stop the camera";
  control.signal.addEventListener("abort", () => {
    camera = undefined;
    element("camera").textContent = "Use the camera";
  });
  try {
    await film(await openCamera(), control);
  } catch (error) {
    complain(error.message);
  }
  control.abort();
}

function openCamera() {
  if (!isSecureContext) throw new Error("Browsers open the camera to secure pages only: use https:// or http://localhost.");
  return navigator.mediaDevices.getUserMedia({ video: { facingMode: "user" } }).catch(({ name, message }) => {
    throw new Error(NO_CAMERA[name] ?? `The camera does not start: ${message}.`);
  });
}

/** Show the camera, and the faces before it, until it is stopped; the last frame that was sent stays. */
async function film(stream, control) {
  const [track] = stream.getTracks();
  if (control.signal.aborted) return track.stop();
  control.signal.addEventListener("abort", () => track.stop());
  track.addEventListener("ended", () => control.abort());
  const video = Object.assign(document.createElement("video"), { srcObject: stream, muted: true, playsInline: true });
  const canvas = document.createElement("canvas");
  const result = makeResult("Camera", video);
  addResults([result]);
  try {
    await video.play();
    await recogniseFrames(video, canvas, result, control.signal);
  } catch (error) {
    fail(result, error);
  }
  video.replaceWith(canvas);
}

/** Send one frame after the other; the next one leaves when the last one is answered. */
async function recogniseFrames(video, canvas, result, signal) {
  let spoken = 0;
  while (!signal.aborted) {
    const pause = sleep(FRAME_MS);
    const prediction = await recognise(await draw(video, canvas), "camera.jpg");
    setSize(result, canvas);
    show(result, prediction);
    if (Date.now() > spoken + SPEECH_MS) {
      announce(sentence(prediction.faces));
      spoken = Date.now();
    }
    await pause;
  }
}

/** Draw the frame of a video on a canvas, smaller where it is large, and return it as a JPEG. */
function draw(video, canvas) {
  const scale = Math.min(1, FRAME_SIDE / Math.max(video.videoWidth, video.videoHeight));
  canvas.width = scale * video.videoWidth;
  canvas.height = scale * video.videoHeight;
  canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve, reject) => {
    const take = (picture) => (picture ? resolve(picture) : reject(new Error("The camera gives no picture.")));
    canvas.toBlob(take, "image/jpeg", 0.9);
  });
}

function stopWhereHidden() {
  if (!document.hidden || !camera) return;
  camera.abort();
  complain("The camera was stopped while this page was hidden.");
}

// The card

/** Show what is known of the network that answers now, and the limits of the server. */
async function loadCard() {
  const model = await request("model").then((response) => response.json()).catch(() => ({}));
  const rows = model.name ? describe(model) : { Network: "The server does not say which one answers." };
  element("card").replaceChildren(...Object.entries(rows).flatMap(([term, words]) => [text("dt", term), text("dd", words)]));
}

function describe({ name, version, digest, detector, card, limits }) {
  return {
    Network: version ? `${name}, version ${version}` : name,
    ...(card ? { "Digest of its weights": digest, ...figures(card) } : { Accuracy: "Not known: it came without a card." }),
    "Finds faces with": detector,
    "Takes at most": `${limits.body_mebibytes} MiB a picture, and ${limits.seconds} seconds for its answer`,
  };
}

function figures({ accuracy, n, split, uncertain_below, coverage, accuracy_certain }) {
  return {
    Accuracy: `${percent(accuracy)} of ${n.toLocaleString("en")} images (${split}) are named as they are labelled.`,
    Uncertain:
      `Said where the most probable expression has less than ${percent(uncertain_below)}. ${percent(coverage)} of the` +
      ` answers on these images have more, and ${percent(accuracy_certain)} of those are right.`,
  };
}

function text(tag, words) {
  return Object.assign(document.createElement(tag), { textContent: words });
}

element("files").addEventListener("change", ({ target }) => {
  take(target.files);
  target.value = ""; // so that the same file can be chosen again
});
element("camera").addEventListener("click", toggleCamera);
element("clear").addEventListener("click", clear);
element("results").addEventListener("click", select);
element("token-form").addEventListener("submit", takeToken);
element("open-about").addEventListener("click", () => {
  element("about").showModal();
  loadCard();
});
element("close-about").addEventListener("click", () => element("about").close());
document.addEventListener("paste", paste);
document.addEventListener("drop", drop);
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dragging");
});
document.addEventListener("dragleave", ({ relatedTarget }) => {
  if (!relatedTarget) document.body.classList.remove("dragging");
});
document.addEventListener("visibilitychange", stopWhereHidden);
loadCard();
