// Before the first paint, so that nothing flashes: the theme that was chosen here last, if any. No module, so that the
// browser waits for it.

window.theme = {
  /** 'light', 'dark', or 'system', which is what the style sheet does by itself. */
  get chosen() { return document.documentElement.dataset.theme ?? 'system'; },

  choose(name) {
    const dark = document.getElementById('dark');
    dark.media = { light: 'not all', dark: 'all' }[name] ?? '(prefers-color-scheme: dark)';
    if (name === 'light' || name === 'dark') document.documentElement.dataset.theme = name;
    else delete document.documentElement.dataset.theme;
    try {
      localStorage.setItem('theme', name);
    } catch { /* storage is switched off: it holds for this page then */ }
  },
};

try {
  const last = localStorage.getItem('theme');
  if (last !== null) window.theme.choose(last);
} catch { /* storage is switched off: the system's theme then */ }
