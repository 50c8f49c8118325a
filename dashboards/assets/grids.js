// On a narrow screen only the columns of a grid that matter most stay; columns say so by context.wide.
(function () {
  const NARROW = 560;

  function fit(element, width) {
    const grid = element.firstElementChild;
    if (!width || !grid || !grid.id || !window.dash_ag_grid) return;
    window.dash_ag_grid.getApiAsync(grid.id).then((api) => {
      if (api.isDestroyed()) return;
      const narrow = width < NARROW;
      const extra = (api.getColumns() || []).filter((one) => (one.getColDef().context || {}).wide);
      const wrong = extra.filter((one) => one.isVisible() === narrow).map((one) => one.getColId());
      if (wrong.length) api.setColumnsVisible(wrong, !narrow);
    });
  }

  const sizes = new ResizeObserver((entries) => entries.forEach((one) => fit(one.target, one.contentRect.width)));

  function watch() {
    document.querySelectorAll(".mp-rows:not([data-watched])").forEach((element) => {
      element.dataset.watched = "yes";
      sizes.observe(element);
    });
  }

  document.addEventListener("DOMContentLoaded", () => {
    new MutationObserver(watch).observe(document.body, { childList: true, subtree: true });
  });
})();
