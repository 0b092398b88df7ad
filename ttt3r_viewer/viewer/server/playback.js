// The playback bar along the bottom of the scene: what it shows comes with the overlay, and what a
// user does goes through viser's own websocket, into a text box that nobody sees. It goes before
// page.js, which calls `makePlayback` in the page.
"use strict";

const PLAYBACK_STYLE = `
  #ttt3r-bar { position: fixed; left: 0; right: 0; bottom: 0; z-index: 5; padding: 5px 12px 4px;
    --back: rgba(24, 25, 28, 0.94); --text: #f1f3f5; --pale: #b8bfc6; --line: #5c636a;
    --on: #4dabf7; --hover: rgba(255, 255, 255, 0.13);
    box-sizing: border-box; background: var(--back); color: var(--text);
    font: 13px/1.3 system-ui, sans-serif; border-top: 1px solid var(--line); user-select: none; }
  [data-mantine-color-scheme="light"] #ttt3r-bar { --back: rgba(250, 250, 251, 0.96);
    --text: #1f2327; --pale: #4d555c; --line: #868e96; --on: #1864ab;
    --hover: rgba(0, 0, 0, 0.09); }
  #ttt3r-bar[hidden], #ttt3r-bar [hidden], #ttt3r-leave[hidden] { display: none !important; }
  #ttt3r-track { position: relative; height: 40px; cursor: pointer; touch-action: none;
    border-radius: 4px; background: var(--hover); outline-offset: 2px; }
  #ttt3r-bar :focus-visible { outline: 2px solid var(--on); outline-offset: 1px; }
  #ttt3r-track > * { position: absolute; pointer-events: none; }
  #ttt3r-strip { inset: 0; overflow: hidden; border-radius: 4px; }
  #ttt3r-strip img { position: absolute; top: 0; height: 100%; object-fit: cover; }
  #ttt3r-later { top: 0; bottom: 0; right: 0; background: rgba(24, 25, 28, 0.55); }
  [data-mantine-color-scheme="light"] #ttt3r-later { background: rgba(250, 250, 251, 0.6); }
  #ttt3r-here { top: -2px; bottom: -2px; width: 4px; margin-left: -2px; border-radius: 2px;
    background: var(--on); box-shadow: 0 0 0 1.5px var(--back); }
  .ttt3r-mark { top: 0; bottom: 0; width: 0; margin-left: -1px; border-left: 2px solid #fff;
    filter: drop-shadow(0 0 1px #000); }
  .ttt3r-mark::before { content: ""; position: absolute; left: -5px; top: 0; width: 8px;
    height: 8px; background: #fff; }
  .ttt3r-mark.reset { border-color: #e69f00; }
  .ttt3r-mark.reset::before { background: #e69f00; clip-path: polygon(0 0, 100% 0, 50% 100%); }
  .ttt3r-mark.change { border-left-style: dashed; border-color: #56b4e9; }
  .ttt3r-mark.change::before { background: #56b4e9; border-radius: 50%; }
  .ttt3r-mark.skipped { border-left-style: dotted; border-color: #f1f3f5; }
  .ttt3r-mark.skipped::before { background: #f1f3f5; }
  #ttt3r-hint { bottom: calc(100% + 6px); transform: translateX(-50%); padding: 2px 7px;
    border-radius: 4px; background: var(--back); border: 1px solid var(--line);
    white-space: nowrap; max-width: 80vw; overflow: hidden; text-overflow: ellipsis; }
  #ttt3r-row { display: flex; align-items: center; gap: 4px; min-height: 36px; }
  #ttt3r-row > * { flex: none; }
  #ttt3r-row button, #ttt3r-row select, #ttt3r-row input { height: 32px; min-width: 32px;
    box-sizing: border-box; color: inherit; background: none; border: 0; border-radius: 4px;
    font: inherit; padding: 0 7px; }
  #ttt3r-row button, #ttt3r-row select { cursor: pointer; }
  #ttt3r-row button:hover, #ttt3r-row select:hover { background: var(--hover); }
  #ttt3r-row select option { color: #1f2327; background: #fff; }
  #ttt3r-row input { width: 4.6em; border: 1px solid var(--line); text-align: right;
    font-variant-numeric: tabular-nums; appearance: textfield; }
  #ttt3r-row svg { width: 18px; height: 18px; display: inline-block; vertical-align: -4px;
    fill: none; stroke: currentColor; stroke-width: 2; stroke-linecap: round;
    stroke-linejoin: round; }
  #ttt3r-row [aria-pressed="true"] { color: var(--on); font-weight: 600; }
  #ttt3r-row .of { font-variant-numeric: tabular-nums; white-space: nowrap; }
  #ttt3r-row .name { flex: 1 1 0; min-width: 0; padding: 0 8px; overflow: hidden;
    text-overflow: ellipsis; white-space: nowrap; color: var(--pale); }
  #ttt3r-leave { position: fixed; right: 10px; top: 10px; z-index: 11; width: 44px; height: 44px;
    border: 0; border-radius: 50%; background: rgba(24, 25, 28, 0.75); color: #fff; cursor: pointer;
    font: 20px/1 system-ui, sans-serif; }
  #ttt3r-inset { margin-bottom: var(--ttt3r-bar-px, 0px); }
  @media (max-width: 900px) { #ttt3r-row .words { display: none; } }
  @media (max-width: 576px) {
    #ttt3r-bar { padding: 4px 8px 2px; }
    #ttt3r-track { height: 44px; }
    #ttt3r-row { gap: 0; justify-content: space-between; }
    #ttt3r-row button, #ttt3r-row select, #ttt3r-row input { height: 42px; min-width: 42px; }
    #ttt3r-row .name { display: none; }
    #ttt3r-inset { margin-bottom: 0; }
  }`;

const ICONS = {
  play: '<path d="M7 4v16l13-8z" fill="currentColor"/>',
  pause: '<path d="M8 5v14M16 5v14" stroke-width="4"/>',
  loop: '<path d="M4 12V9a3 3 0 0 1 3-3h13m-3-3 3 3-3 3M20 12v3a3 3 0 0 1-3 3H4m3 3-3-3 3-3"/>',
  camera: '<path d="M4 8h3l2-3h6l2 3h3v11H4z"/><circle cx="12" cy="13" r="3.5"/>',
  live: '<circle cx="12" cy="12" r="4" fill="currentColor"/><circle cx="12" cy="12" r="9"/>',
};
const SPEEDS = [0.25, 0.5, 1, 2, 4];
const THUMBNAIL_PX = 44;
const SEND_MS = 50;
const HOLD_MS = 600;

const makePlayback = (parent, page) => {
  const add = (where, kind, fields = {}) =>
    where.appendChild(Object.assign(document.createElement(kind), fields));
  add(document.head, "style", { textContent: PLAYBACK_STYLE });
  const bar = add(parent, "div", { id: "ttt3r-bar", hidden: true });
  bar.setAttribute("role", "region");
  bar.setAttribute("aria-label", "Playback");
  const track = add(bar, "div", { id: "ttt3r-track", tabIndex: 0 });
  track.setAttribute("role", "slider");
  track.setAttribute("aria-label", "Frame");
  track.setAttribute("aria-valuemin", "1");
  const strip = add(track, "div", { id: "ttt3r-strip" });
  const later = add(track, "div", { id: "ttt3r-later" });
  const ticks = add(track, "div");
  ticks.style.inset = "0";
  const here = add(track, "div", { id: "ttt3r-here" });
  const hint = add(track, "div", { id: "ttt3r-hint", hidden: true });
  const row = add(bar, "div", { id: "ttt3r-row" });

  const parts = {};
  const thumbs = new Map();
  let guest = false;
  let shown = null;
  let held = null;
  let heldUntil = 0;
  let count = 0;

  const say = (action, value = null) => {
    const channel = parts.playback?.channel;
    if (!channel) return;
    count += 1;
    // viser hands on a text only where it differs from the one before, which may be another page's.
    const text = JSON.stringify([page, count + Math.random(), action, value]);
    window.__viserMutable?.sendMessage({
      type: "GuiUpdateMessage",
      uuid: channel,
      updates: { value: text },
    });
  };

  const makeButton = (name, icon, words, act) => {
    const button = add(row, "button", { type: "button" });
    button.innerHTML = `<svg viewBox="0 0 24 24" aria-hidden="true">${ICONS[icon]}</svg>`;
    if (words) add(button, "span", { className: "words", textContent: ` ${words}` });
    button.setAttribute("aria-label", name);
    button.title = name;
    button.onclick = () => act();
    // The space bar is a key of the page again after a click.
    button.onpointerup = () => button.blur();
    return button;
  };
  const play = makeButton("Play", "play", "", () => say("play"));
  const box = add(row, "input", { type: "number", min: 1, step: 1, inputMode: "numeric" });
  box.setAttribute("aria-label", "Frame number");
  const of = add(row, "span", { className: "of" });
  const name = add(row, "span", { className: "name" });
  name.dataset.testid = "caption";
  const speed = add(row, "select", { title: "Speed: 1x is 10 frames a second, or more of a long run" });
  speed.setAttribute("aria-label", "Speed");
  for (const value of SPEEDS) add(speed, "option", { value, textContent: `${value}x` });
  speed.onchange = () => {
    say("speed", Number(speed.value));
    speed.blur();
  };
  const loop = makeButton("Loop", "loop", "", () => say("loop", !shown.loop));
  makeButton("Go to this camera", "camera", "Go to this camera", () => say("camera"));
  const live = makeButton("Live", "live", "Live", () => say("live"));
  const leave = add(parent, "button", { id: "ttt3r-leave", type: "button", hidden: true });
  leave.textContent = "✕";
  leave.title = "Leave the talk's captions (H)";
  leave.setAttribute("aria-label", "Leave the talk's captions");
  leave.onclick = () => say("talk");

  // While a user drags, the latest frame goes at most every SEND_MS.
  let sent = null;
  let timer = 0;
  const goTo = (frame) => {
    held = Math.min(Math.max(frame, 0), shown.count - 1);
    heldUntil = performance.now() + HOLD_MS;
    draw();
    if (timer) return;
    sent = held;
    say("go", held);
    timer = setTimeout(() => {
      timer = 0;
      if (held !== null && held !== sent) goTo(held);
    }, SEND_MS);
  };

  const frameAt = (event) => {
    const { left, width } = track.getBoundingClientRect();
    const share = Math.min(Math.max((event.clientX - left) / width, 0), 0.99999);
    return Math.floor(share * Math.max(shown.total, 1));
  };
  const marksAt = (frame, near) =>
    (parts.marks?.marks ?? [])
      .filter((mark) => Math.abs(mark.frame - frame) <= near)
      .map(({ kind, text }) => (kind === "reset" ? `reset ${text}`.trim() : text));
  const hover = (event) => {
    if (!shown?.count) return;
    const frame = Math.min(frameAt(event), shown.count - 1);
    const near = (4 * shown.total) / track.clientWidth;
    hint.hidden = false;
    hint.textContent = [`frame ${frame + 1}`, ...marksAt(frame, near)].join(" · ");
    const half = hint.offsetWidth / 2;
    const x = event.clientX - track.getBoundingClientRect().left;
    hint.style.left = `${Math.min(Math.max(x, half), Math.max(track.clientWidth - half, half))}px`;
  };
  let dragging = false;
  track.onpointerdown = (event) => {
    if (!shown?.count || event.button) return;
    event.preventDefault();
    track.setPointerCapture(event.pointerId);
    dragging = true;
    goTo(frameAt(event));
  };
  track.onpointermove = (event) => {
    hover(event);
    if (dragging) goTo(frameAt(event));
  };
  track.onpointerup = track.onpointercancel = () => {
    dragging = false;
    hint.hidden = true;
  };
  track.onpointerleave = () => (hint.hidden = !dragging);
  track.onkeydown = (event) => {
    const page = Math.max(Math.round(shown.count / 10), 1);
    const now = position();
    const to = {
      ArrowLeft: now - 1, ArrowDown: now - 1, ArrowRight: now + 1, ArrowUp: now + 1,
      PageDown: now - page, PageUp: now + page, Home: 0, End: shown.count - 1,
    }[event.key];
    if (to === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();
    goTo(to);
  };
  // A key that the control itself takes is none of the page's.
  row.onkeydown = (event) => {
    if (event.target === box || [" ", "Enter"].includes(event.key)) event.stopPropagation();
  };
  box.onkeydown = (event) => {
    if (event.key === "Escape") box.value = "";
    if (event.key === "Enter" || event.key === "Escape") box.blur();
  };
  box.onchange = () => {
    if (box.value !== "" && Number.isFinite(Number(box.value))) goTo(Math.round(box.value) - 1);
  };
  box.onblur = () => draw();

  const position = () =>
    held !== null && (dragging || performance.now() < heldUntil) ? held : shown.position;

  const drawTrack = () => {
    const total = Math.max(shown.total, 1);
    const percent = (frames) => `${(100 * frames) / total}%`;
    // As many as are not too narrow to be made out.
    const apart = (THUMBNAIL_PX * total) / Math.max(track.clientWidth, 1);
    const frames = [];
    for (const thumb of [...thumbs.values()].sort((a, b) => a.frame - b.frame)) {
      const fits = !frames.length || thumb.frame >= frames.at(-1).frame + apart;
      thumb.element.hidden = !fits;
      if (fits) frames.push(thumb);
    }
    for (const [k, thumb] of frames.entries()) {
      const next = frames[k + 1]?.frame ?? shown.count;
      thumb.element.style.left = percent(thumb.frame);
      thumb.element.style.width = percent(Math.max(next - thumb.frame, 0));
    }
    const now = position();
    here.hidden = now < 0;
    here.style.left = percent(Math.max(now, 0) + 0.5);
    later.style.left = percent(now + 1);
    ticks.replaceChildren();
    for (const { frame, kind } of parts.marks?.marks ?? []) {
      add(ticks, "div", { className: `ttt3r-mark ${kind}` }).style.cssText =
        `position: absolute; left: ${percent(frame)}`;
    }
  };

  const draw = () => {
    if (!shown) return;
    const now = position();
    drawTrack();
    document.title = shown.title;
    const text = `frame ${now + 1} of ${shown.total}`;
    track.setAttribute("aria-valuemax", Math.max(shown.count, 1));
    track.setAttribute("aria-valuenow", Math.max(now + 1, 1));
    track.setAttribute("aria-valuetext", [text, ...marksAt(now, 0)].join(", "));
    track.setAttribute("aria-disabled", shown.count < 2);
    if (document.activeElement !== box) box.value = now >= 0 ? now + 1 : "";
    box.max = Math.max(shown.count, 1);
    box.disabled = shown.count < 1;
    of.textContent = `of ${shown.total.toLocaleString("en")}`;
    name.textContent = name.title = shown.text;
    const run = shown.run && !guest ? " the run" : "";
    const doing = shown.playing ? `Pause${run}` : run ? "Go on with the run" : "Play";
    if (play.title !== doing) {
      play.title = doing;
      play.setAttribute("aria-label", doing);
      play.querySelector("svg").innerHTML = ICONS[shown.playing ? "pause" : "play"];
    }
    if (document.activeElement !== speed) speed.value = shown.speed;
    loop.setAttribute("aria-pressed", shown.loop);
    live.setAttribute("aria-pressed", shown.live);
    const what = guest ? "Show what the owner shows" : "Live: stay at the newest frame (L)";
    live.title = what;
    live.setAttribute("aria-label", what);
    live.querySelector(".words").textContent = guest ? " Owner's view" : " Live";
  };

  // The bar ends where viser's panel begins: beside it, or above it as a sheet on a phone.
  const place = () => {
    const talk = [...document.querySelectorAll(".ttt3r-title, .ttt3r-logo"), leave];
    const low = Math.max(...talk.map((one) => one.getBoundingClientRect().bottom));
    document.body.style.setProperty("--ttt3r-talk-px", `${low + 8}px`);
    if (bar.hidden) return document.body.style.setProperty("--ttt3r-bar-px", "0px");
    const panel = document.querySelector('[role="tablist"]')?.closest(".mantine-Paper-root");
    const phone = window.innerWidth <= 576;
    const sheet = [...document.querySelectorAll(".mantine-Paper-root")].find(
      (one) => getComputedStyle(one).position === "fixed" && one.offsetWidth > 200,
    );
    const over = (phone ? sheet : panel)?.getBoundingClientRect();
    const beside = over && !phone && over.left > window.innerWidth / 2;
    bar.style.right = beside ? `${window.innerWidth - over.left + 6}px` : "0";
    bar.style.bottom = phone && over ? `${Math.max(window.innerHeight - over.top, 0)}px` : "0";
    document.body.style.setProperty("--ttt3r-bar-px", `${bar.offsetHeight}px`);
  };
  window.addEventListener("resize", place);
  setInterval(() => document.hidden || place(), 500);

  return (content, role, restarted) => {
    guest = role === "guest";
    if (restarted) {
      for (const key of Object.keys(parts)) delete parts[key];
      for (const { element } of thumbs.values()) element.remove();
      thumbs.clear();
    }
    for (const [key, part] of Object.entries(content)) {
      parts[key] = part;
      if (!/^thumb\d+$/.test(key)) continue;
      const before = thumbs.get(key);
      if (part === null) {
        before?.element.remove();
        thumbs.delete(key);
        continue;
      }
      const element = before?.element ?? add(strip, "img", { alt: "", draggable: false });
      element.src = part.image;
      thumbs.set(key, { frame: part.frame, element });
    }
    shown = parts.own ?? parts.playback ?? null;
    const talk = Boolean(parts.playback?.talk);
    bar.hidden = !shown || talk;
    leave.hidden = !talk || guest;
    draw();
    place();
  };
};
