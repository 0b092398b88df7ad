// Runs before viser's own script in every page of the gate, and in a worker of each page.
"use strict";

// Says in cookies, which the page's websocket then brings, what draws the page (a GPU, a phone's GPU
// or software), and how many pixels of the screen one of the page has: viser's server cannot know. A
// browser that draws in software names such a renderer, or admits that it is slow; a phone or tablet
// has no pointer but fingers.
if (self.document) {
  const SOFTWARE = /swiftshader|llvmpipe|softpipe|software|basic render/i;

  const drawsOnGpu = () => {
    const canvas = document.createElement("canvas");
    const gl = canvas.getContext("webgl2", { failIfMajorPerformanceCaveat: true });
    if (gl === null) return false;
    const unmasked = gl.getExtension("WEBGL_debug_renderer_info");
    const name = gl.getParameter(unmasked ? unmasked.UNMASKED_RENDERER_WEBGL : gl.RENDERER);
    gl.getExtension("WEBGL_lose_context")?.loseContext();
    return !SOFTWARE.test(name);
  };

  const say = (name, word) => {
    document.cookie = `${name}=${word}; Path=/; SameSite=Strict`;
  };
  const onPhone = !matchMedia("(any-pointer: fine)").matches && matchMedia("(any-pointer: coarse)").matches;
  say("ttt3r-draws", !drawsOnGpu() ? "software" : onPhone ? "phone" : "gpu");
  say("ttt3r-pixels", window.devicePixelRatio.toFixed(3));
}

// The worker asks again and again; the gate answers when there is something new, or after some
// seconds. In the page itself each step would wait for an image of the scene to be drawn. Where
// nobody answers for a while, the program has ended.
if (!self.document) {
  const FIRST_WAIT_MS = 500;
  const LONGEST_WAIT_MS = 2000;
  let hidden = false;
  let shown = () => {};
  self.onmessage = ({ data }) => {
    hidden = data;
    if (!hidden) shown();
  };

  (async () => {
    for (let have = "", failed = 0; ; ) {
      let status = 0;
      try {
        const answer = await fetch(`/overlay?have=${have}&page=${self.name}`);
        status = answer.status;
        if (!answer.ok) throw new Error(answer.statusText);
        const content = await answer.json();
        if (failed) self.postMessage({ ended: "" });
        failed = 0;
        const role = answer.headers.get("X-Ttt3r-Role");
        const restarted = content.version.split(".")[0] !== have.split(".")[0];
        if (content.version !== have) self.postMessage({ content, role, restarted });
        have = content.version;
      } catch {
        failed += 1;
        if (status === 403) self.postMessage({ ended: "shut" });
        else if (status === 0 && failed > 2) self.postMessage({ ended: "gone" });
        const wait = failed === 1 ? FIRST_WAIT_MS : LONGEST_WAIT_MS;
        await new Promise((resolve) => setTimeout(resolve, wait));
      }
      if (hidden) await new Promise((resolve) => (shown = resolve));
    }
  })();
}

// Lays what the gate tells over the scene, in elements that stay: an image that is replaced does
// not blink, and nothing goes with a panel that is folded away. The panes of a twin view are too
// narrow for it.
if (self.document && window.top === window) {
  const STYLE = `
    .ttt3r-over { position: fixed; z-index: 1; pointer-events: none; color: #fff;
      font: 12px/1.4 system-ui, sans-serif; text-shadow: 0 0 3px #000; }
    .ttt3r-over[hidden] { display: none !important; }
    #ttt3r-inset { left: 15px; bottom: 15px; display: flex; gap: 6px; align-items: flex-end; }
    #ttt3r-inset figure { margin: 0; width: clamp(96px, 17vw, 240px); overflow: hidden;
      border-radius: 5px; background: rgba(20, 20, 22, 0.85);
      box-shadow: 0 0 0 1px rgba(255, 255, 255, 0.2), 0 2px 10px rgba(0, 0, 0, 0.6); }
    #ttt3r-inset img { display: block; width: 100%; }
    #ttt3r-inset figcaption { display: flex; gap: 0.5em; align-items: center; padding: 2px 0.6em;
      font-variant-numeric: tabular-nums; white-space: nowrap; }
    #ttt3r-inset figcaption :first-child { overflow: hidden; text-overflow: ellipsis; }
    #ttt3r-inset i { flex: 1; min-width: 1em; height: 0.5em; border-radius: 2px; }
    #ttt3r-inset.talk { left: auto; right: 2em; bottom: 4.6em;
      font-size: clamp(16px, 1.75vw, 60px); }
    #ttt3r-inset.talk figcaption { font-size: 0.7em; }
    #ttt3r-ended { left: 50%; top: 40%; transform: translate(-50%, -50%); z-index: 1000;
      width: max-content; max-width: min(86vw, 460px); box-sizing: border-box; padding: 16px 22px;
      border-radius: 8px; background: #1f2327; border: 1px solid #868e96; font-size: 15px;
      text-align: center; text-shadow: none; }
    #ttt3r-ended b { display: block; font-size: 1.2em; margin-bottom: 4px; }
    #ttt3r-loading { left: calc((100% - 335px) / 2); top: 50%; transform: translate(-50%, -50%);
      width: max-content; max-width: min(90vw, 480px); text-align: center; font-size: 15px; }
    #ttt3r-loading.talk { left: 50%; }
    #ttt3r-loading img { width: min(32vw, 480px); border-radius: 8px; margin-bottom: 14px;
      opacity: 0.85; box-shadow: 0 4px 24px rgba(0, 0, 0, 0.7); }
    #ttt3r-loading b { display: block; font-size: 1.25em;
      animation: ttt3r-breathe 2s ease-in-out infinite; }
    @keyframes ttt3r-breathe { 50% { opacity: 0.5; } }
    /* viser's tabs stand in one row at every width: each a symbol over a short word. */
    [role="tablist"] { flex-wrap: nowrap !important; background-size: 100% 100% !important; }
    [role="tablist"] > [role="tab"] { flex: 1 1 0; flex-direction: column; min-width: 0;
      justify-content: center; gap: 1px; height: 3.6em !important; padding: 0 1px !important; }
    [role="tab"] > :first-child:not(:last-child) { margin: 0 !important; font-size: 1.25em; }
    [role="tab"] > :last-child { font-size: 0.9em; }
    @media (max-width: 576px) {
      .mantine-Paper-root:has(> * [role="tablist"]),
      .mantine-Paper-root .mantine-ScrollArea-content:has([role="tablist"]) > * {
        width: 100% !important; }
    }
    @media (max-width: 576px) and (orientation: portrait) {
      #ttt3r-inset, #ttt3r-inset.talk { left: 8px; right: auto; top: 8px; bottom: auto; }
      #ttt3r-inset.talk { top: var(--ttt3r-talk-px, 5em); }
      #ttt3r-inset figure { width: 27vw; }
      #ttt3r-loading { left: 50%; top: 20%; }
      #ttt3r-loading.talk { top: 50%; }
    }`;
  const make = (parent, kind, text) => {
    const element = document.createElement(kind);
    if (text !== undefined) element.textContent = text;
    return parent.appendChild(element);
  };

  const makeRoot = (parent, id) => {
    const root = make(parent, "div");
    root.id = id;
    root.className = "ttt3r-over";
    root.hidden = true;
    return root;
  };

  const makeLoading = (parent) => {
    const root = makeRoot(parent, "ttt3r-loading");
    const image = make(root, "img");
    const title = make(root, "b");
    const line = make(root, "span");
    image.alt = "the input's first image";
    return (shown) => {
      root.hidden = !shown;
      if (!shown) return;
      root.classList.toggle("talk", shown.talk);
      image.hidden = !shown.image;
      if (shown.image) image.src = shown.image;
      title.textContent = `${shown.title} …`;
      line.textContent = shown.line;
    };
  };

  // By what the worker says: nobody answers, or another run asks for another token.
  const ENDED = {
    gone: "Start it again: this page then connects by itself, or open the link that it prints.",
    shut: "It was started again: open the link that it has printed.",
  };
  const makeEnded = (parent) => {
    const root = makeRoot(parent, "ttt3r-ended");
    root.setAttribute("role", "alert");
    const title = make(root, "b");
    const line = make(root, "span");
    return (ended) => {
      root.hidden = !ended;
      title.textContent = ended ? "The program has ended." : "";
      line.textContent = ENDED[ended] ?? "";
    };
  };

  // Makes both figures once; gives what brings them up to date.
  const makeInset = (parent) => {
    const root = makeRoot(parent, "ttt3r-inset");
    const figures = [0, 1].map(() => {
      const figure = make(root, "figure");
      return { figure, caption: make(figure, "figcaption"), image: make(figure, "img") };
    });
    return (shown) => {
      root.hidden = !shown;
      if (!shown) return;
      root.classList.toggle("talk", shown.talk);
      figures.forEach(({ figure, caption, image }, k) => {
        const one = shown.figures[k];
        figure.hidden = !one;
        if (!one) return;
        image.src = one.image;
        image.alt = one.text;
        caption.replaceChildren();
        make(caption, "span", one.text);
        if (!one.range) return;
        make(caption, "span", one.range[0]);
        make(caption, "i").style.background = `linear-gradient(90deg, ${one.colors.join()})`;
        make(caption, "span", one.range[1]);
      });
    };
  };

  document.addEventListener("DOMContentLoaded", () => {
    make(document.head, "style", STYLE);
    const loading = makeLoading(document.body);
    const inset = makeInset(document.body);
    const ended = makeEnded(document.body);
    const name = Math.random().toString(36).slice(2, 14);
    const playback = makePlayback(document.body, name);
    const worker = new Worker("/page.js", { name });
    worker.onmessage = ({ data }) => {
      if ("ended" in data) return ended(data.ended);
      let { content, role, restarted } = data;
      // Only what has changed comes, but from another program all.
      if (restarted) content = { loading: null, inset: null, ...content };
      if ("loading" in content) loading(content.loading);
      if ("inset" in content) inset(content.inset);
      playback(content, role, restarted);
      document.dispatchEvent(new CustomEvent("ttt3r-overlay", { detail: { content, role } }));
    };
    document.addEventListener("visibilitychange", () => worker.postMessage(document.hidden));
  });
}
