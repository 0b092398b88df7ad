// Only guests get this: what the program would drop is grey here, and a badge says so.
if (self.document) {
  const CONTROLS = [
    ".mantine-Button-root", ".mantine-Checkbox-input", ".mantine-Input-input",
    ".mantine-Slider-thumb", ".mantine-NumberInput-control",
  ].join();
  const STYLE = `
    #ttt3r-guest { position: fixed; z-index: 2; left: 15px; top: 15px; padding: 0.25em 0.9em;
      border-radius: 2em; background: #364fc7; color: #fff; font: 600 13px system-ui, sans-serif;
      box-shadow: 0 1px 6px rgba(0, 0, 0, 0.5); }
    .mantine-Slider-root:has([aria-disabled="true"]) { opacity: 0.4; pointer-events: none; }`;
  const HINT =
    "You look around as you like, and the bar at the bottom shows you any frame. The panel is the " +
    "owner's.";

  const greyOut = () => {
    for (const one of document.querySelectorAll(CONTROLS)) {
      if ("disabled" in one) {
        if (!one.disabled) one.disabled = true;
      } else if (one.ariaDisabled !== "true") {
        one.ariaDisabled = "true";
        one.tabIndex = -1;
      }
    }
  };

  document.addEventListener("DOMContentLoaded", () => {
    document.head.append(Object.assign(document.createElement("style"), { textContent: STYLE }));
    const badge = Object.assign(document.createElement("div"), { id: "ttt3r-guest", title: HINT });
    badge.textContent = "guest: view only";
    badge.setAttribute("role", "note");
    document.body.append(badge);
    const changes = { childList: true, subtree: true, attributes: true, attributeFilter: ["disabled"] };
    new MutationObserver(greyOut).observe(document.body, changes);
    greyOut();
  });
}
