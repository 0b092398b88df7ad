// Names what viser's page leaves without a name, so that screen readers can say it, and makes its
// dim texts readable. Its widgets come and go, so it looks again after changes.
if (self.document) {
  const STYLE = `
    [data-mantine-color-scheme="dark"] { --mantine-color-dimmed: #a8a8a8 !important; }
    [data-mantine-color-scheme="light"] { --mantine-color-dimmed: #5f6872 !important; }
    /* A blurred scene behind a question is drawn so slowly without a GPU that nobody can answer. */
    .mantine-Modal-overlay { backdrop-filter: none !important; }`;
  const SHORTEST_MS = 500;
  const ICONS = [
    [".mantine-Notification-closeButton", "Close this notice"],
    [".mantine-CloseButton-root", "Close"],
    ["button:has(.tabler-icon-list-search)", "Everything in the scene"],
    ["button:has(.tabler-icon-adjustments)", "Settings of the page"],
    ["[role=progressbar]", "Progress"],
    [".uplot-container button", "Larger view"],
  ];
  // The panel says how many points a browser that draws in software gets.
  const NOTICES = ["webgl-software-rendering"];

  const nameAll = () => {
    for (const [selector, name] of ICONS) {
      for (const one of document.querySelectorAll(selector)) {
        if (!one.getAttribute("aria-label") && !one.textContent.trim())
          one.setAttribute("aria-label", name);
      }
    }
    // A slider is its label's; the box of numbers beside it stands in the same row.
    for (const label of document.querySelectorAll("label[for]")) {
      const slider = document.getElementById(label.htmlFor);
      if (!slider?.classList.contains("mantine-Slider-root")) continue;
      const unnamed = slider.parentElement.querySelectorAll(
        '[role=slider]:is([aria-label=""], :not([aria-label])), input:not([type=hidden], [aria-label])',
      );
      for (const one of unnamed) one.setAttribute("aria-label", label.textContent.trim());
    }
    for (const id of NOTICES)
      document.getElementById(id)?.querySelector(".mantine-Notification-closeButton")?.click();
  };

  let waits = false;
  const soon = () => {
    if (waits) return;
    waits = true;
    setTimeout(() => {
      waits = false;
      nameAll();
    }, SHORTEST_MS);
  };
  document.addEventListener("DOMContentLoaded", () => {
    document.head.append(Object.assign(document.createElement("style"), { textContent: STYLE }));
    new MutationObserver(soon).observe(document.body, { childList: true, subtree: true });
    soon();
  });
}
