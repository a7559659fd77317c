// Maps come as 8 bits at the layer's own resolution; here they are enlarged, coloured and laid over the picture.
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

// As the server sends it, with its bytes unpacked once.
function opened(map) {
  map.bytes ??= bytesOf(map.values);
  return map;
}

// Lower and upper neighbour and the upper one's weight: bilinear, corners not aligned.
function taps(size, target) {
  return Array.from({ length: target }, (_, pixel) => {
    const place = Math.max(((pixel + 0.5) * size) / target - 0.5, 0);
    const lower = Math.min(Math.floor(place), size - 1);
    return [lower, Math.min(lower + 1, size - 1), place - lower];
  });
}

function blend(pixels, map, opacity) {
  const { data, width, height } = pixels;
  const [rows, columns] = [taps(map.height, height), taps(map.width, width)];
  for (let row = 0; row < height; row++) {
    const [top, bottom, down] = rows[row];
    for (let column = 0; column < width; column++) {
      const [left, right, along] = columns[column];
      const upper = map.bytes[top * map.width + left] * (1 - along) + map.bytes[top * map.width + right] * along;
      const lower = map.bytes[bottom * map.width + left] * (1 - along) + map.bytes[bottom * map.width + right] * along;
      const colour = 3 * Math.round(upper * (1 - down) + lower * down);
      const pixel = 4 * (row * width + column);
      for (let part = 0; part < 3; part++) {
        data[pixel + part] = data[pixel + part] * (1 - opacity) + table[colour + part] * opacity;
      }
    }
  }
}

function hatch(pen, width, height, word) {
  pen.fillStyle = "rgba(128, 134, 144, 0.75)";
  pen.fillRect(0, 0, width, height);
  pen.strokeStyle = "#5d636e";
  pen.lineWidth = Math.max(1, width / 90);
  for (let start = -height; start < width; start += width / 14) {
    pen.beginPath();
    pen.moveTo(start, height);
    pen.lineTo(start + height, 0);
    pen.stroke();
  }
  if (!word) return;
  const size = Math.max(12, Math.floor(width / 20));
  pen.font = `600 ${size}px system-ui, sans-serif`;
  const wide = Math.min(width, pen.measureText(word).width + size);
  pen.fillStyle = "#fff";
  pen.fillRect((width - wide) / 2, height / 2 - size * 0.8, wide, size * 1.6);
  pen.fillStyle = "#1b1f27";
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  pen.fillText(word, width / 2, height / 2, width);
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
    hatch(pen, canvas.width, canvas.height, side > 100 ? "undefined" : "");
    return `undefined: ${map.why}`;
  }
  if (opacity === 0) return "";
  const pixels = pen.getImageData(0, 0, canvas.width, canvas.height);
  blend(pixels, opened(map), opacity);
  pen.putImageData(pixels, 0, 0);
  return "";
}

export async function loaded(source) {
  const picture = new Image();
  picture.src = source;
  await picture.decode();
  return picture;
}
