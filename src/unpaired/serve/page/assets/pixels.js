// Arithmetic on pictures: planes are one Float32Array for each channel, values in [-1, 1].

/** Return the (height, width) at which the network sees a picture, as in its training. */
export function seenSize(sizing, height, width) {
  if (!sizing) return [height, width];
  if (sizing.height) return [sizing.height, sizing.width];
  const tall = Math.trunc(Math.max(sizing.width * height / width, sizing.least)), round = (length) =>
    Math.max(sizing.multiple, halfEven(length / sizing.multiple) * sizing.multiple);
  return [round(tall), round(sizing.width)];
}

/** Resize a plane, bicubic and antialiased as in Pillow. */
export function resize(plane, height, width, newHeight, newWidth) {
  const across = newWidth === width ? plane : pass(plane, height, width, newWidth, width, 1, newWidth, 1);
  return newHeight === height ? across : pass(across, newWidth, height, newHeight, 1, newWidth, 1, newWidth);
}

function pass(plane, lines, length, newLength, line, step, newLine, newStep) {
  const made = new Float32Array(lines * newLength), scale = length / newLength, wide = Math.max(scale, 1), support = 2 * wide;
  for (let at = 0; at < newLength; at += 1) {
    const centre = (at + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - support + 0.5)), end = Math.min(length, Math.trunc(centre + support + 0.5));
    const weights = Array.from({ length: end - first }, (_, i) => bicubic((first + i - centre + 0.5) / wide));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    for (let n = 0; n < lines; n += 1) {
      let sum = 0;
      for (let i = first; i < end; i += 1) sum += plane[n * line + i * step] * weights[i - first];
      made[n * newLine + at * newStep] = sum / total;
    }
  }
  return made;
}

function bicubic(x) {
  const a = Math.abs(x);
  if (a < 1) return (1.5 * a - 2.5) * a * a + 1;
  return a < 2 ? -0.5 * (((a - 5) * a + 8) * a - 4) : 0;
}

/** Return a picture's pixels, [H, W, 4] bytes, transparency laid over white. */
export function read(bitmap) {
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(bitmap, 0, 0);
  return context.getImageData(0, 0, canvas.width, canvas.height);
}

/** Return the planes of a picture with one channel (luma, as Pillow's "L") or three; bytes `low` to `high` are -1 to 1. */
export function planes({ data, width, height }, channels, low = 0, high = 255) {
  const count = width * height, signed = (value) => Math.min(1, Math.max(-1, (value - low) * (2 / (high - low)) - 1));
  return Array.from({ length: channels }, (_, channel) => {
    const plane = new Float32Array(count);
    for (let i = 0; i < count; i += 1) {
      const p = 4 * i;
      plane[i] = signed(channels === 3 ? data[p + channel]
        : (data[p] * 19595 + data[p + 1] * 38470 + data[p + 2] * 7471 + 0x8000) >> 16);
    }
    return plane;
  });
}

/** Return planes as pixels; -1 to 1 are the bytes `low` to `high`. */
export function picture(found, width, height, low = 0, high = 255) {
  const image = new ImageData(width, height), half = (high - low) / 2;
  for (let i = 0; i < width * height; i += 1) {
    for (let c = 0; c < 3; c += 1) {
      const value = Math.min(1, Math.max(-1, found[found.length === 3 ? c : 0][i]));
      image.data[4 * i + c] = halfEven((value + 1) * half + low);
    }
    image.data[4 * i + 3] = 255;
  }
  return image;
}

/** Round, halves to the even number, as Python and NumPy do. */
export function halfEven(value) {
  const down = Math.floor(value), rest = value - down;
  return rest > 0.5 || (rest === 0.5 && down % 2) ? down + 1 : down;
}

/** Return how far two pictures of one size differ, `factor` times: black where they are equal. */
export function difference(one, other, factor) {
  const image = new ImageData(one.width, one.height);
  for (let i = 0; i < image.data.length; i += 1) {
    image.data[i] = i % 4 === 3 ? 255 : factor * Math.abs(one.data[i] - other.data[i]);
  }
  return image;
}

/** Return a picture less its Gaussian blur, `factor` times, around grey: the detail that eyes pass over. */
export function detail(image, sigma, factor) {
  const { width, height } = image;
  return picture(planes(image, 3).map((plane) => {
    const soft = blur(blur(plane, height, width, width, 1, sigma), width, height, 1, width, sigma);
    return plane.map((value, i) => factor * (value - soft[i]));
  }), width, height);
}

function blur(plane, lines, length, line, step, sigma) {
  const reach = Math.ceil(4 * sigma), weights = [];
  for (let i = -reach; i <= reach; i += 1) weights.push(Math.exp(-i * i / (2 * sigma * sigma)));
  const total = weights.reduce((sum, weight) => sum + weight, 0), made = new Float32Array(plane.length);
  const inside = (i) => { // reflected at the edges
    const period = Math.max(2 * (length - 1), 1), place = ((i % period) + period) % period;
    return place < length ? place : period - place;
  };
  for (let at = 0; at < length; at += 1) {
    for (let n = 0; n < lines; n += 1) {
      let sum = 0;
      for (let i = -reach; i <= reach; i += 1) sum += plane[n * line + inside(at + i) * step] * weights[i + reach];
      made[n * line + at * step] = sum / total;
    }
  }
  return made;
}
