"""VGG16 with batch norms on FER2013 Training, from random weights: cross-fitted teachers, then a student. One GPU.

Stages: `plain` (hard labels, all training images), K teachers (each without one fold), `student` (each image's target is
mixed of its label and the output of the teacher that never saw it, on the same augmented view). Validation = PublicTest.
PrivateTest is not on this machine.
"""
import argparse, json, math, os, time
import numpy as np, torch, torch.nn as nn, torch.nn.functional as F
from PIL import Image
Image.MAX_IMAGE_PIXELS = None
T0 = time.time()
ap = argparse.ArgumentParser()
ap.add_argument('--budget', type=float, default=500); ap.add_argument('--data', default='.gpu'); ap.add_argument('--out', default=os.environ.get('OUT', '/tmp/out'))
ap.add_argument('--batch', type=int, default=256); ap.add_argument('--lr', type=float, default=0.1); ap.add_argument('--folds', type=int, default=4)
ap.add_argument('--limit', type=int, default=0); ap.add_argument('--no-compile', action='store_true'); ap.add_argument('--share', default='0.16,0.30,0.34,0.10,0.10'); ap.add_argument('--slack', type=float, default=1.06)
ap.add_argument('--lam', type=float, default=0.6); ap.add_argument('--stages', default='plain,teachers,student,lean_cross,lean_taught'); ap.add_argument('--max-epochs', type=int, default=400)
a = ap.parse_args()
dev = 'cuda' if torch.cuda.is_available() else 'cpu'
os.makedirs(a.out, exist_ok=True)
torch.backends.cudnn.benchmark = True
torch.set_float32_matmul_precision('high')
torch.manual_seed(0)
MEAN = (103.939 + 116.779 + 123.68) / 3; SCALE = 64.0; EPS = 1e-3; NC = 7
def log(*s): print(f'[{time.time()-T0:6.1f}]', *s, flush=True)

# data: PNG strips, 48 wide tiles
lab = np.load(f'{a.data}/labels.npy'); n_train, lab = int(lab[0]), lab[1:].astype(np.int64)
parts = []
for f in sorted(p for p in os.listdir(a.data) if p.startswith('sheet') and p.endswith('.png')):
    s = np.asarray(Image.open(f'{a.data}/{f}')); r, c = s.shape[0]//48, s.shape[1]//48
    parts.append(s.reshape(r, 48, c, 48).transpose(0, 2, 1, 3).reshape(-1, 48, 48))
img = np.concatenate(parts)[:len(lab)]
chk = json.load(open(f'{a.data}/check.json')); assert chk['n'] == len(img) and chk['sum'] == int(img.astype(np.int64).sum()), 'data differ'
X, Y = torch.from_numpy(img[:n_train].copy()).to(dev), torch.from_numpy(lab[:n_train]).to(dev)
XV, YV = torch.from_numpy(img[n_train:].copy()).to(dev), torch.from_numpy(lab[n_train:]).to(dev)
if a.limit: X, Y, XV, YV = X[:a.limit], Y[:a.limit], XV[:a.limit], YV[:a.limit]
g = torch.Generator().manual_seed(7)
fold = torch.empty(len(X), dtype=torch.long)                      # stratified
for c in range(NC):
    w = (Y.cpu() == c).nonzero().flatten(); w = w[torch.randperm(len(w), generator=g)]; fold[w] = torch.arange(len(w)) % a.folds
fold = fold.to(dev)
log('data', tuple(X.shape), tuple(XV.shape), dev, torch.cuda.get_device_name() if dev == 'cuda' else '')

class VGG(nn.Module):
    def __init__(self, drop=0.5):
        super().__init__(); self.names = []; m = []; i = 1
        for b, (d, ch) in enumerate(((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)), 1):
            for k in range(1, d+1):
                m += [nn.Conv2d(i, ch, 3, padding=1, bias=False), nn.BatchNorm2d(ch, eps=EPS, momentum=0.1), nn.ReLU(inplace=True)]; i = ch
                self.names.append(f'block{b}_conv{k}')
            m.append(nn.MaxPool2d(2))
        self.f = nn.Sequential(*m); self.drop = nn.Dropout(drop); self.fc = nn.Linear(512, NC)
        for x in self.modules():
            if isinstance(x, nn.Conv2d): nn.init.kaiming_normal_(x.weight, mode='fan_in')
        nn.init.normal_(self.fc.weight, std=0.02); nn.init.zeros_(self.fc.bias)
    def forward(self, x): return self.fc(self.drop(self.f(x).flatten(1)))

class Conv(nn.Module):
    """3 x 3, padded as TensorFlow's `same` (by 2: below and right alone), batch norm."""
    def __init__(self, i, o, stride=1):
        super().__init__(); self.stride = stride
        self.conv = nn.Conv2d(i, o, 3, stride, padding=1 if stride == 1 else 0, bias=False); self.norm = nn.BatchNorm2d(o, eps=EPS, momentum=0.1)
    def forward(self, x): return self.norm(self.conv(F.pad(x, (0, 1, 0, 1)) if self.stride == 2 else x))
class Residual(nn.Module):
    def __init__(self, c): super().__init__(); self.a, self.b = Conv(c, c), Conv(c, c)
    def forward(self, x): return F.relu(x + self.b(F.relu(self.a(x))))
class Lean(nn.Module):
    """The project's lean_cnn at width 1.5."""
    def __init__(self, drop=0.3):
        super().__init__(); a, b, c, d = 48, 96, 192, 384; R = nn.ReLU
        self.f = nn.Sequential(Conv(1, a, 2), R(), Conv(a, a), R(), Conv(a, b, 2), R(), Residual(b), Conv(b, c, 2), R(), Residual(c), Conv(c, d, 2), R())
        self.drop = nn.Dropout(drop); self.fc = nn.Linear(d, NC)
        for x in self.modules():
            if isinstance(x, nn.Conv2d): nn.init.kaiming_normal_(x.weight, mode='fan_in')
        nn.init.normal_(self.fc.weight, std=0.02); nn.init.zeros_(self.fc.bias)
    def forward(self, x): return self.fc(self.drop(self.f((x * SCALE + MEAN) / 255).mean((2, 3))))   # lean_cnn's scaling: padding is black

AMP = torch.bfloat16
def new_model(seed, kind=VGG):
    torch.manual_seed(seed); return kind().to(dev).to(memory_format=torch.channels_last)

def u(n, lo, hi): return torch.empty(n, device=dev).uniform_(lo, hi)
def augment(x, light, erase):
    """uint8 (N,48,48) -> float (N,1,48,48) normalised, warped."""
    n = len(x); f = x.unsqueeze(1).float()
    plain = (torch.rand(n, device=dev) < 0.15).float()
    act = 1 - plain
    s = 0.6 if light else 1.0
    ang = u(n, -1, 1) * (15 * s * math.pi/180) * act; sc = 1 + u(n, -.15, .15) * s * act; ax = 1 + u(n, -.05, .05) * s * act
    tx, ty = u(n, -.2, .2) * s * act, u(n, -.2, .2) * s * act                    # of half the side: 10%
    mir = torch.where(torch.rand(n, device=dev) < .5, -1., 1.)
    co, si = torch.cos(ang) * sc, torch.sin(ang) * sc
    th = torch.stack([torch.stack([co*mir*ax, -si, tx], 1), torch.stack([si*mir*ax, co, ty], 1)], 1)
    f = F.grid_sample(f, F.affine_grid(th, (n, 1, 48, 48), align_corners=False), mode='bilinear', padding_mode='border', align_corners=False)
    if not light:
        m = f.mean((2, 3), keepdim=True)
        f = ((f - m) * (1 + u(n, -.25, .25).view(n, 1, 1, 1)) + m + 255 * u(n, -.15, .15).view(n, 1, 1, 1)).clamp_(0, 255)
        on = torch.rand(n, device=dev) < erase
        area, ratio = 2304 * u(n, .02, .25), torch.exp(u(n, -1, 1) * math.log(3.0))
        h, w = torch.sqrt(area*ratio).clamp(2, 47), torch.sqrt(area/ratio).clamp(2, 47)
        top, left = torch.rand(n, device=dev) * (48-h), torch.rand(n, device=dev) * (48-w)
        r = torch.arange(48, device=dev).float()
        my = (r[None] >= top[:, None]) & (r[None] < (top+h)[:, None]); mx = (r[None] >= left[:, None]) & (r[None] < (left+w)[:, None])
        mask = (my[:, :, None] & mx[:, None, :] & on[:, None, None]).unsqueeze(1)
        f = torch.where(mask, torch.rand_like(f) * 255, f)
    return (f - MEAN) / SCALE

BETA = torch.distributions.Beta(torch.tensor(.4, device=dev), torch.tensor(.4, device=dev), validate_args=False)
def mix(x, t, share):
    """Per image mixup of a share of the images."""
    n = len(x); b = BETA.sample((n,))
    b = torch.where(torch.rand(n, device=dev) < share, torch.maximum(b, 1-b), torch.ones_like(b))
    p = torch.randperm(n, device=dev)
    return x * b.view(-1, 1, 1, 1) + x[p] * (1-b).view(-1, 1, 1, 1), t * b.view(-1, 1) + t[p] * (1-b).view(-1, 1)

def fwd(m, x): 
    with torch.autocast(dev, dtype=AMP): return m(x)
def train_loss(m, x, t):
    return -(t * F.log_softmax(fwd(m, x).float(), 1)).sum(1).mean()
def probs(m, x): return F.softmax(fwd(m, x).float(), 1)
if not a.no_compile and dev == 'cuda':
    train_loss = torch.compile(train_loss, dynamic=False); probs_c = torch.compile(probs, dynamic=False); augment_c = torch.compile(augment, dynamic=False)
else: probs_c, augment_c = probs, augment

def norm(x): return ((x.unsqueeze(1).float() - MEAN) / SCALE).contiguous(memory_format=torch.channels_last)
@torch.no_grad()
def evaluate(m, tta=False):
    m.eval(); out = []
    p = F.pad(XV.unsqueeze(1).float(), (4, 4, 4, 4), mode='replicate')[:, 0]
    shifts = [(0, 0)] + ([(-4, -4), (-4, 4), (4, -4), (4, 4)] if tta else [])
    tot = None
    for dy, dx in shifts:
        v = p[:, 4+dy:52+dy, 4+dx:52+dx]
        for w in ([v, v.flip(2)] if tta else [v]):
            o = torch.cat([probs(m, norm(w[i:i+512])) for i in range(0, len(w), 512)])
            tot = o if tot is None else tot + o
    m.train(); return (tot.argmax(1) == YV).float().mean().item(), (tot / tot.sum(1, keepdim=True))

def fit(name, seed, rows_by_group, epochs, teachers=None, lam=0.0, smooth=0.1, kind=VGG, erase=0.5, share=0.5):
    """rows_by_group: list of row tensors; a batch comes from one group; teachers[k] goes with group k."""
    erase = torch.tensor(erase, device=dev)
    m = new_model(seed, kind); ema = new_model(seed, kind); ema.load_state_dict(m.state_dict())
    dec = [p for n, p in m.named_parameters() if p.ndim > 1]; nod = [p for n, p in m.named_parameters() if p.ndim <= 1]
    opt = torch.optim.SGD([{'params': dec, 'weight_decay': 5e-4}, {'params': nod, 'weight_decay': 0.}], lr=a.lr, momentum=0.9, nesterov=True, fused=(dev == 'cuda'))
    per = sum(len(r)//a.batch for r in rows_by_group); steps = epochs * per; warm = max(1, int(.03*steps)); light_from = int(.92*epochs)
    es = [v for v in ema.state_dict().values() if v.dtype.is_floating_point]; ms = [v for v in m.state_dict().values() if v.dtype.is_floating_point]
    P = list(m.parameters()); eye = torch.eye(NC, device=dev); hist = []; t = time.time(); k = 0; tl = torch.zeros((), device=dev)
    m.train(); gen = torch.Generator().manual_seed(seed)
    for ep in range(epochs):
        light = ep >= light_from
        sched = []
        for gi, r in enumerate(rows_by_group):
            q = r[torch.randperm(len(r), device=dev)]
            sched += [(gi, q[i*a.batch:(i+1)*a.batch]) for i in range(len(r)//a.batch)]
        order = torch.randperm(len(sched), generator=gen).tolist()
        tl.zero_()
        for o in order:
            gi, idx = sched[o]
            lr = a.lr * (k+1)/warm if k < warm else a.lr * .5 * (1 + math.cos(math.pi * (k-warm)/max(1, steps-warm)))
            for gr in opt.param_groups: gr['lr'] = lr
            with torch.no_grad():
                x = augment_c(X[idx], light, erase); h = eye[Y[idx]]
                if not light: x, h = mix(x, h, share)
                x = x.contiguous(memory_format=torch.channels_last)
                tgt = h * (1-smooth) + smooth/NC
                if teachers is not None: tgt = (1-lam) * tgt + lam * probs_c(teachers[gi], x)
            loss = train_loss(m, x, tgt); opt.zero_grad(set_to_none=True); loss.backward()
            nn.utils.clip_grad_norm_(P, 2.0, foreach=True); opt.step()
            d = min(.999, (k+1)/(k+10)); torch._foreach_lerp_(es, ms, 1-d); k += 1; tl += loss.detach()
        last = ep == epochs-1
        if last or (ep+1) % max(1, epochs//12) == 0:
            acc, _ = evaluate(ema); hist.append({'epoch': ep+1, 'loss': tl.item()/max(1, per), 'val': acc, 'seconds': time.time()-t})
            log(name, hist[-1])
            if not math.isfinite(hist[-1]['loss']): log(name, 'DIVERGED'); break
    acc, _ = evaluate(ema); tta, pr = evaluate(ema, tta=True)
    log(name, 'done', 'val', round(acc, 4), 'tta', round(tta, 4), 'epochs', epochs, 'steps', k, 'seconds', round(time.time()-t, 1))
    ema.eval(); return ema, {'name': name, 'seed': seed, 'epochs': epochs, 'steps': k, 'seconds': time.time()-t, 'val': acc, 'val_tta': tta, 'history': hist}, pr

def save(m, name):
    sd = {k: v.detach().float().cpu().numpy() for k, v in m.state_dict().items() if not k.endswith('num_batches_tracked')}
    assert all(np.isfinite(v).all() for v in sd.values())
    big = {k: (v.astype(np.float16) if v.ndim > 1 else v) for k, v in sd.items()}
    keys = list(big); half, acc, cut = sum(v.nbytes for v in big.values())/2, 0, 0
    for i, k in enumerate(keys):
        if acc + big[k].nbytes > 15.5e6 and not cut: cut = i
        acc += big[k].nbytes
    if not cut: np.savez(f'{a.out}/{name}.npz', **big); return
    np.savez(f'{a.out}/{name}-1.npz', **{k: big[k] for k in keys[:cut]}); np.savez(f'{a.out}/{name}-2.npz', **{k: big[k] for k in keys[cut:]})

# speed: seconds a step, after compilation
def speed():
    r = torch.randperm(len(X), device=dev)[:a.batch]; te = new_model(98).eval(); er = torch.tensor(.5, device=dev)
    def sync(): torch.cuda.synchronize() if dev == 'cuda' else None
    def one(m, opt, teach):
        with torch.no_grad():
            x = augment_c(X[r], False, er); h = F.one_hot(Y[r], NC).float(); x, h = mix(x, h, .5); x = x.contiguous(memory_format=torch.channels_last)
            if teach: h = .5*h + .5*probs_c(te, x)
        l = train_loss(m, x, h); opt.zero_grad(set_to_none=True); l.backward(); nn.utils.clip_grad_norm_(list(m.parameters()), 2.0, foreach=True); opt.step()
    res = []
    for kind, teach in ((VGG, False), (VGG, True), (Lean, True)):
        m = new_model(99, kind); opt = torch.optim.SGD(m.parameters(), lr=1e-3, momentum=.9, nesterov=True, fused=(dev == 'cuda'))
        for _ in range(3): one(m, opt, teach)
        sync(); t = time.time(); n = 40 if dev == 'cuda' else 2
        for _ in range(n): one(m, opt, teach)
        sync(); res.append((time.time()-t)/n); log('compiled and timed', kind.__name__, teach, round(res[-1]*1e3, 2), 'ms a step')
    with torch.no_grad(): augment_c(X[r], True, er)
    sync(); return res
ts, tt, tl = speed(); log('TFLOP/s about', round(a.batch*4.22e9/ts/1e12))
all_rows = [torch.arange(len(X), device=dev)]; folds = [(fold == k).nonzero().flatten() for k in range(a.folds)]; rest = [(fold != k).nonzero().flatten() for k in range(a.folds)]
pe = len(X)//a.batch; pt = sum(len(r)//a.batch for r in rest); ps = sum(len(r)//a.batch for r in folds)
stages = a.stages.split(','); ORDER = ('plain', 'teachers', 'student', 'lean_cross', 'lean_taught')
shares = {n: float(x) for n, x in zip(ORDER, a.share.split(',')) if n in stages}
def epochs_of(stage, step, per):
    """Of the time that is left, this stage's share of it and of the later stages'."""
    left = a.budget - (time.time()-T0) - 8; later = [shares[n] for n in ORDER[ORDER.index(stage):] if n in shares]
    e = max(2, min(a.max_epochs, int(left*later[0]/sum(later)/(step*a.slack)/max(1, per)))); log(stage, 'epochs', e); return e
info = {'device': torch.cuda.get_device_name() if dev == 'cuda' else 'cpu', 'torch': torch.__version__, 'args': vars(a), 'step_ms': ts*1e3, 'step_teacher_ms': tt*1e3, 'step_lean_ms': tl*1e3, 'stages': []}
def dump(): info['seconds'] = time.time()-T0; json.dump(info, open(f'{a.out}/log.json', 'w'), indent=1)
def done(m, r): info['stages'].append(r); save(m, r['name']); dump()
val = {}
if 'plain' in stages:
    m, r, _ = fit('plain', 1, all_rows, epochs_of('plain', ts, pe)); val['plain'] = r['val']; done(m, r); del m
if 'teachers' in stages:
    T, tp = [], 0; oof = np.zeros((len(X), NC), np.float16); e = epochs_of('teachers', ts, pt)
    for k in range(a.folds):
        m, r, p = fit(f'teacher{k}', 10+k, [rest[k]], e); T.append(m); tp = tp + p; info['stages'].append(r)
        with torch.no_grad():
            o = torch.cat([probs(m, norm(X[folds[k]][i:i+512])) for i in range(0, len(folds[k]), 512)])
            r['unseen_fold'] = (o.argmax(1) == Y[folds[k]]).float().mean().item(); oof[folds[k].cpu().numpy()] = o.cpu().numpy()
        log('on its unseen fold', round(r['unseen_fold'], 4)); dump()
    np.savez(f'{a.out}/oof.npz', probabilities=oof, fold=fold.cpu().numpy().astype(np.uint8))
    info['teachers_ensemble_val'] = (tp.argmax(1) == YV).float().mean().item(); log('teachers together, tta, val', round(info['teachers_ensemble_val'], 4))
    if 'student' in stages:
        S, r, _ = fit('student', 2, folds, epochs_of('student', tt, ps), teachers=T, lam=a.lam); val['student'] = r['val']; done(S, r)
        if 'plain' in val:                                    # 64 MiB may come back: the better one
            worse = min(val, key=val.get)
            for i in (1, 2): os.remove(f'{a.out}/{worse}-{i}.npz')
    if 'lean_cross' in stages:
        m, r, _ = fit('lean_cross', 3, folds, epochs_of('lean_cross', tl, ps), teachers=T, lam=0.7, kind=Lean, erase=0.3, share=0.3); done(m, r)
    if 'lean_taught' in stages:
        m, r, _ = fit('lean_taught', 3, all_rows, epochs_of('lean_taught', tl, pe), teachers=[S], lam=0.7, kind=Lean, erase=0.3, share=0.3); done(m, r)
dump(); log('end')
