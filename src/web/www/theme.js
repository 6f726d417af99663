// Before the first paint, so that nothing flashes: the theme that was chosen here last, if any.
(() => {
  let chosen = null;
  try { chosen = localStorage.getItem('theme'); } catch { /* storage is switched off: the system's theme then */ }
  if (chosen === 'light' || chosen === 'dark') document.documentElement.dataset.theme = chosen;
})();
