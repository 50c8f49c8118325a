// Called by the grids: on a narrow screen only the columns that matter most stay.
window.dashAgGridFunctions = window.dashAgGridFunctions || {};
(function (functions) {
  functions.mpFit = function (params) {
    const api = params.api;
    const width = params.clientWidth || (document.querySelector(".mp-rows") || {}).clientWidth || 0;
    if (!width || !api.getColumns) return;
    const narrow = width < 680;
    const extra = api.getColumns().filter((one) => (one.getColDef().context || {}).wide);
    const wrong = extra.filter((one) => one.isVisible() === narrow).map((one) => one.getColId());
    if (wrong.length) api.setColumnsVisible(wrong, !narrow);
  };
})(window.dashAgGridFunctions);
