// A canvas to draw into anew, in the page's own pixels and colours.

/** Its pen, its width in pixels, and the colour that a name stands for in the page's theme. */
export function cleared(canvas, height) {
  const scale = window.devicePixelRatio || 1;
  const width = canvas.clientWidth;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  const paint = canvas.getContext('2d');
  paint.scale(scale, scale);
  const style = getComputedStyle(canvas);
  const colour = (name) => style.getPropertyValue(`--${name}`).trim();
  return { paint, width, colour, font: style.fontFamily };
}
