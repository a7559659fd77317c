// Lays a map over a picture: enlarged, coloured, blended. A part of the report's script, and a module of the explorer's.
// Lower and upper neighbour and the upper one's weight, as pictures.py does it: corners not aligned.
function taps(size, target) {
  return Array.from({ length: target }, (_, pixel) => {
    const place = Math.max(((pixel + 0.5) * size) / target - 0.5, 0);
    const lower = Math.min(Math.floor(place), size - 1);
    return [lower, Math.min(lower + 1, size - 1), place - lower];
  });
}

// map: { height, width, scale, at(row, column) }, scale times at() from 0 to 255; colours: 256 of three bytes.
export function blend(pixels, map, colours, opacity) {
  const { data, width, height } = pixels;
  const [rows, columns] = [taps(map.height, height), taps(map.width, width)];
  for (let row = 0; row < height; row++) {
    const [top, bottom, down] = rows[row];
    for (let column = 0; column < width; column++) {
      const [left, right, along] = columns[column];
      const upper = map.at(top, left) * (1 - along) + map.at(top, right) * along;
      const lower = map.at(bottom, left) * (1 - along) + map.at(bottom, right) * along;
      const color = 3 * Math.round(map.scale * (upper * (1 - down) + lower * down));
      const pixel = 4 * (row * width + column);
      for (let part = 0; part < 3; part++) {
        data[pixel + part] = data[pixel + part] * (1 - opacity) + colours[color + part] * opacity;
      }
    }
  }
}

// Stands for a map that is not defined; the word may be empty.
export function hatch(pen, width, height, word, size) {
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
  pen.font = `600 ${size}px system-ui, sans-serif`;
  const wide = Math.min(width, pen.measureText(word).width + size);
  pen.fillStyle = "#fff";
  pen.fillRect((width - wide) / 2, height / 2 - size * 0.8, wide, size * 1.6);
  pen.fillStyle = "#1b1f27";
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  pen.fillText(word, width / 2, height / 2, width);
}
