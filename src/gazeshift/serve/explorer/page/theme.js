// Runs before the first paint, so that a chosen theme does not flash.
(() => {
  let chosen = "auto";
  try { chosen = localStorage.getItem("gazeshift-theme") || "auto"; } catch { /* storage is off: the system decides */ }
  document.documentElement.dataset.theme = chosen;
})();
