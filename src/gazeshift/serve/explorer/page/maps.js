// Maps come as 8 bits at the layer's own resolution, and are laid over the picture here.
import { blend, hatch } from "./overlay.js";

let table = null;

export function bytesOf(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

// 256 colours, three bytes each.
export function useColours(text) {
  table = bytesOf(text);
}

export function drawScale(canvas) {
  const pen = canvas.getContext("2d");
  for (let step = 0; step < 256; step++) {
    pen.fillStyle = `rgb(${table.subarray(3 * step, 3 * step + 3).join(",")})`;
    pen.fillRect(step, 0, 1, 1);
  }
}

// As `blend` wants it; its bytes are unpacked once.
function opened(map) {
  map.bytes ??= bytesOf(map.values);
  const { height, width, bytes } = map;
  return { height, width, scale: 1, at: (row, column) => bytes[row * width + column] };
}

// Draws a picture under its map; says why there is no map, or nothing.
export function paint(canvas, picture, map, opacity, side) {
  const longer = Math.max(picture.naturalWidth, picture.naturalHeight, 1);
  canvas.width = Math.max(1, Math.round((side * picture.naturalWidth) / longer));
  canvas.height = Math.max(1, Math.round((side * picture.naturalHeight) / longer));
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.imageSmoothingEnabled = picture.naturalWidth > 96;
  pen.drawImage(picture, 0, 0, canvas.width, canvas.height);
  if (!map) return "";
  if (map.values === null) {
    hatch(pen, canvas.width, canvas.height, side > 100 ? "undefined" : "", Math.max(12, Math.floor(canvas.width / 20)));
    return `undefined: ${map.why}`;
  }
  if (opacity === 0) return "";
  const pixels = pen.getImageData(0, 0, canvas.width, canvas.height);
  blend(pixels, opened(map), table, opacity);
  pen.putImageData(pixels, 0, 0);
  return "";
}

export async function loaded(source) {
  const picture = new Image();
  picture.src = source;
  await picture.decode();
  return picture;
}
