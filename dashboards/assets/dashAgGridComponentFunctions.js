// How cells of the grids look.
window.dashAgGridComponentFunctions = window.dashAgGridComponentFunctions || {};
(function (cells) {
  const make = (...parts) => window.React.createElement(...parts);

  // The same as Dash's own links: no page load.
  function go(event) {
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.button) return;
    event.preventDefault();
    history.pushState({}, "", event.currentTarget.href);
    window.dispatchEvent(new CustomEvent("_dashprivate_pushstate"));
    window.scrollTo(0, 0);
  }

  // On a phone the second line says what the hidden columns would.
  cells.MpKey = (props) => {
    const row = props.data;
    const under = [row.stage, row.amount].filter(Boolean).join(" · ");
    return make("div", { className: "mp-cell-two" },
      row.href
        ? make("a", { href: row.href, onClick: go, tabIndex: -1, className: "mp-key mp-row-link", title: [props.value, row.kind].filter(Boolean).join(" · ") },
            props.value, row.space ? make("i", null, row.space) : null)
        : make("b", { className: "mp-key", title: props.value }, props.value),
      under ? make("span", { className: "mp-narrow" }, under) : null);
  };

  cells.MpBadge = (props) =>
    props.value ? make("span", { className: "mp-badge mp-" + props.value.tone }, make("i"), props.value.text) : null;

  cells.MpTime = (props) =>
    props.value
      ? make("time", { dateTime: props.value.at, "data-mode": props.value.mode, className: props.value.tone ? "mp-text-" + props.value.tone : "" }, props.value.plain)
      : make("span", { className: "mp-dim" }, "–");

  cells.MpText = (props) =>
    props.value
      ? make("span", { className: "mp-clip", title: props.value }, props.value)
      : make("span", { className: "mp-dim" }, "–");

  cells.MpLines = (props) => make("span", { className: "mp-lines", title: props.value || "" }, props.value || "–");

  function follow(event) {
    const row = event.target.closest(".mp-rows .ag-row");
    const key = row && !event.target.closest("a, button") && row.querySelector("a.mp-row-link");
    if (key) key.click();
  }

  // A click anywhere on a row goes where its key goes, and so does Enter: Tab leads into a grid and out, arrows about it.
  document.addEventListener("click", (event) => { if (!String(getSelection())) follow(event); });
  document.addEventListener("keydown", (event) => { if (event.key === "Enter") follow(event); });
})(window.dashAgGridComponentFunctions);
