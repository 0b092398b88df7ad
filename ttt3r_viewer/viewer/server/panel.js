// What viser's panel cannot do by itself: values at a chart's pointer, a larger view that keyboard
// and touch reach too, text for the clipboard, explanations below words, columns where the tab
// "Inspect" is wide, word of whether that tab is open, the run's buttons in one row, and notices that
// a user can dismiss.
if (self.document) {
  const STYLE = `
    .ttt3r-button { margin: 0.3em 0.4em 0.3em 0; padding: 0.35em 0.8em; border-radius: 4px;
      border: 1px solid #7d858c; background: none; color: inherit; font: inherit; cursor: pointer; }
    .ttt3r-button:hover { background: rgba(128, 128, 128, 0.2); }
    .ttt3r-button:focus-visible { outline: 2px solid #4dabf7; outline-offset: 1px; }
    #ttt3r-values { position: fixed; z-index: 1000; pointer-events: none; padding: 4px 8px;
      border-radius: 4px; background: rgba(24, 25, 28, 0.94); color: #f1f3f5;
      font: 12px/1.5 system-ui, sans-serif; box-shadow: 0 0 0 1px #5c636a; }
    #ttt3r-values[hidden] { display: none; }
    #ttt3r-values th, #ttt3r-values td { padding: 0 0.4em 0 0; text-align: left;
      font-weight: normal; white-space: nowrap; font-variant-numeric: tabular-nums; }
    #ttt3r-values .ttt3r-no-legend { display: none; }
    #ttt3r-values .u-marker, #ttt3r-values .u-label { display: inline-block; vertical-align: middle; }
    #ttt3r-values .u-marker { width: 0.75em; height: 0.75em; margin-right: 0.4em; }
    .uplot:not(:hover) .u-legend .u-value { display: none; }
    .mantine-Modal-root:has(.uplot) {
      --modal-size: min(92vw, calc((100vh - 220px) * 1.4)) !important; }
    .ttt3r-word { text-decoration: underline dotted; text-underline-offset: 3px; cursor: help; }
    .ttt3r-word:focus-visible { outline: 2px solid #4dabf7; }
    .ttt3r-why { display: grid; margin-top: 2px; color: var(--mantine-color-dimmed); }
    .ttt3r-why > * { grid-area: 1 / 1; opacity: 0; }
    ${[1, 2, 3, 4].map((k) => `.ttt3r-word:nth-of-type(${k}):is(:hover, :focus)
      ~ .ttt3r-why > :nth-child(${k})`).join()} { opacity: 1; }
    :has(> * > [data-testid="status"]) { display: grid;
      grid-template-columns: repeat(3, minmax(0, 1fr)); }
    :has(> * > [data-testid="status"]) > * { grid-column: 1 / -1; }
    :has(> * > [data-testid="status"]) > :has(> .mantine-Button-root) { grid-column: auto; }
    :has(> * > [data-testid="status"]) > * > .mantine-Button-root { padding: 0 0.3em; }
    :has(> * > * > [data-testid="inspect-note"]) { container-type: inline-size; }
    @container (min-width: 700px) {
      :has(> * > [data-testid="inspect-note"]) { display: grid; align-items: start;
        grid-template-columns: repeat(3, minmax(0, 1fr)); column-gap: 8px; }
      :has(> * > [data-testid="inspect-note"]) > * { grid-column: 1 / -1; }
      :has(> * > [data-testid="inspect-note"]) > :has(img) { grid-column: auto; }
      :has(> * > [data-testid="inspect-note"]) img { width: 100%; }
    }`;
  const AWAY_PX = 14;

  const copy = async (text) => {
    // An address without https may not use the clipboard; a selection may still be copied.
    if (navigator.clipboard) return navigator.clipboard.writeText(text);
    const box = document.body.appendChild(document.createElement("textarea"));
    box.value = text;
    box.select();
    document.execCommand("copy");
    box.remove();
  };

  // viser shows the button that opens a chart large only while a pointer is over the chart.
  const enlarge = (button) => {
    const charts = [...document.querySelectorAll(".uplot-container")];
    const chart = charts.find(
      (one) => button.compareDocumentPosition(one) & Node.DOCUMENT_POSITION_FOLLOWING,
    );
    chart?.dispatchEvent(new MouseEvent("mouseover", { bubbles: true }));
    setTimeout(() => chart?.querySelector("button")?.click(), 50);
  };

  const DISMISSED = "ttt3r-dismissed-notice";
  const hideDismissed = () => {
    const notice = document.querySelector('[data-testid="notice"]');
    if (notice) notice.hidden = notice.textContent === localStorage.getItem(DISMISSED);
  };

  document.addEventListener("click", async ({ target }) => {
    const button = target.closest?.(".ttt3r-button");
    if (button?.dataset.ttt3r === "larger") enlarge(button);
    if (button?.dataset.ttt3r === "dismiss") {
      localStorage.setItem(DISMISSED, button.parentElement.textContent);
      hideDismissed();
    }
    if (button?.dataset.ttt3r !== "copy") return;
    await copy(button.dataset.content);
    const before = button.textContent;
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = before), 1500);
  });

  // Says to the program, through viser's websocket, whether the tab "Inspect" is open here; again now
  // and then, as a connection that is new knows nothing.
  const LOOK_MS = 300;
  const AGAIN_MS = 5000;
  const tellWhoLooks = () => {
    let channel = "";
    let said = false;
    let saidAt = 0;
    document.addEventListener("ttt3r-overlay", ({ detail }) => {
      if (!detail.content.panel || detail.role === "guest") return;
      channel = detail.content.panel.channel;
      said = false;
    });
    setInterval(() => {
      if (!channel) return;
      const tabs = [...document.querySelectorAll("[role=tab]")];
      const tab = tabs.find((one) => one.textContent.trim() === "Inspect");
      if (!tab || document.hidden) return;
      const looks = tab.getAttribute("aria-selected") === "true";
      if (looks === said && (!looks || performance.now() - saidAt < AGAIN_MS)) return;
      [said, saidAt] = [looks, performance.now()];
      const value = JSON.stringify(["panel", Date.now() + Math.random(), "looks", looks]);
      const message = { type: "GuiUpdateMessage", uuid: channel, updates: { value } };
      window.__viserMutable?.sendMessage(message);
    }, LOOK_MS);
  };

  document.addEventListener("DOMContentLoaded", () => {
    document.head.append(Object.assign(document.createElement("style"), { textContent: STYLE }));
    tellWhoLooks();
    setInterval(hideDismissed, LOOK_MS);
    const values = document.body.appendChild(document.createElement("div"));
    values.id = "ttt3r-values";
    values.hidden = true;
    document.documentElement.addEventListener("mouseleave", () => (values.hidden = true));
    document.addEventListener("mousemove", ({ target, clientX, clientY }) => {
      const chart = target.closest?.(".u-over")?.closest(".uplot");
      values.hidden = !chart;
      if (!chart) return;
      // The legend says the values at the pointer, after the chart itself has moved there.
      requestAnimationFrame(() => {
        values.replaceChildren(chart.querySelector(".u-legend tbody").cloneNode(true));
        const { offsetWidth: width, offsetHeight: height } = values;
        const left = clientX + AWAY_PX + width < innerWidth;
        values.style.left = `${left ? clientX + AWAY_PX : clientX - AWAY_PX - width}px`;
        values.style.top = `${Math.max(Math.min(clientY, innerHeight - height - 4), 4)}px`;
      });
    });
  });
}
