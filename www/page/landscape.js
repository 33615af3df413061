// A picture to begin with: a mill at a stream, late in the day. Drawn here, by seeded chance, so that it is always the same.

const { PI, sin } = Math;

export function landscape(on, w, h) {
  let seed = 7;
  const chance = () => { seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0; return seed / 2 ** 32; };
  const fill = (style) => { on.fillStyle = style; on.fill(); };
  const shape = (style, ...points) => { on.beginPath(); points.forEach(([x, y]) => on.lineTo(x, y)); on.closePath(); fill(style); };
  const round = (style, x, y, rx, ry = rx) => { on.beginPath(); on.ellipse(x, y, rx, ry, 0, 0, 2 * PI); fill(style); };
  const down = (y0, y1, ...stops) => { const g = on.createLinearGradient(0, y0, 0, y1); stops.forEach((c, i) => g.addColorStop(i / (stops.length - 1), c)); return g; };
  const ridge = (style, y, ...waves) => {
    on.beginPath();
    on.moveTo(0, h);
    for (let x = 0; x <= w; x += 2) on.lineTo(x, y - waves.reduce((sum, [high, wide, from]) => sum + high * sin(x / wide + from), 0));
    on.lineTo(w, h);
    fill(style);
  };
  const glow = (x, y, r, colour) => { const g = on.createRadialGradient(x, y, 0, x, y, r); g.addColorStop(0, colour); g.addColorStop(1, `${colour.slice(0, 7)}00`); round(g, x, y, r); };

  on.fillStyle = down(0, 150, "#5c93b4", "#9dc0c6", "#f2d9a6");
  on.fillRect(0, 0, w, h);
  glow(302, 92, 120, "#ffe9b0cc");
  round("#fff3cf", 302, 92, 15);
  for (const [x, y, size] of [[70, 42, 1.2], [196, 28, 0.9], [352, 40, 0.7]]) {
    for (let i = 0; i < 6; i += 1) round("#ffffff55", x + (i - 2.5) * 13 * size, y + 4 * sin(i * 2.1), 17 * size, 6.5 * size);
  }
  on.strokeStyle = "#3d4f58";
  on.lineWidth = 1.4;
  for (const [x, y, s] of [[222, 70, 5], [238, 62, 4], [211, 60, 3.4]]) {
    on.beginPath();
    on.moveTo(x - 2 * s, y - s); on.quadraticCurveTo(x - s, y - 1.4 * s, x, y); on.quadraticCurveTo(x + s, y - 1.4 * s, x + 2 * s, y - s);
    on.stroke();
  }
  ridge(down(80, 150, "#7f9fb0", "#b9bfae"), 126, [14, 47, 1], [7, 19, 4]);
  ridge(down(100, 160, "#6d8c83", "#93a67e"), 142, [10, 62, 3.4], [3, 23, 0]);
  ridge(down(130, 190, "#7e9a5a", "#5f7f46"), 158, [8, 80, 5.2], [2, 31, 1]);
  // A wood on the far bank.
  for (let i = 0; i < 46; i += 1) {
    const x = 232 + i * 3.6 + chance() * 4, y = 158 + 5 * sin(i / 6) + chance() * 4, tall = 17 + chance() * 15;
    shape(["#2f5142", "#3a6149", "#27463b"][i % 3], [x - 5, y], [x, y - tall], [x + 5, y]);
  }
  ridge(down(150, h, "#8fa553", "#4f7038"), 172, [6, 90, 2.2], [2, 37, 3]);
  // The stream, from the wheel to the front.
  on.beginPath();
  on.moveTo(384, 172); on.bezierCurveTo(300, 172, 250, 178, 206, 187); on.bezierCurveTo(150, 199, 170, 215, 226, 226);
  on.bezierCurveTo(280, 238, 290, 246, 286, 256); on.lineTo(384, 256); on.closePath();
  fill(down(170, h, "#b9cbb9", "#5f9aa6", "#2f6f82"));
  on.lineWidth = 1.2;
  for (let i = 0; i < 70; i += 1) {
    const y = 178 + chance() * 76, from = y < 200 ? 215 : 238 + (y - 200) * 0.9, x = from + chance() * (w - from - 6), long = 5 + chance() * 16;
    on.strokeStyle = chance() < 0.5 ? "#e9f1dccc" : "#2a6476aa";
    on.beginPath(); on.moveTo(x, y); on.lineTo(x + long, y); on.stroke();
  }
  glow(305, 196, 34, "#fff0c4aa");
  // The mill: stones, a roof, windows that are lit, a chimney.
  shape("#8c8577", [74, 118], [84, 118], [84, 96], [74, 96]);
  for (let i = 0; i < 5; i += 1) round("#e8e6de44", 80 + i * 7 + 3 * sin(i), 88 - i * 11, 5 + i * 2.2, 4 + i * 1.6);
  shape(down(120, 200, "#cbbf9f", "#a4967a"), [66, 132], [152, 132], [152, 196], [66, 196]);
  for (let i = 0; i < 90; i += 1) {
    on.fillStyle = ["#b5a887", "#d8cdb0", "#93866b", "#bfb291"][i % 4];
    on.fillRect(67 + (i % 10) * 8.5 + ((i / 10) & 1) * 4, 134 + Math.floor(i / 10) * 6.9, 7 - chance() * 2, 5);
  }
  shape(down(96, 138, "#8a4a36", "#6b3428"), [57, 138], [82, 98], [138, 98], [162, 138]);
  on.strokeStyle = "#53261d88";
  for (let i = 1; i < 6; i += 1) { on.beginPath(); on.moveTo(82 - i * 4.2, 98 + i * 6.7); on.lineTo(138 + i * 4, 98 + i * 6.7); on.stroke(); }
  for (const [x, y] of [[80, 144], [106, 144], [80, 168]]) {
    on.fillStyle = "#4a3a2c"; on.fillRect(x - 1.5, y - 1.5, 15, 18);
    on.fillStyle = "#ffd98a"; on.fillRect(x, y, 12, 15);
    on.fillStyle = "#4a3a2c"; on.fillRect(x + 5.4, y, 1.3, 15); on.fillRect(x, y + 7, 12, 1.3);
  }
  on.fillStyle = "#4a3226"; on.fillRect(106, 169, 17, 27);
  // The wheel.
  const [x, y, r] = [172, 170, 33];
  on.strokeStyle = "#4b3423";
  on.lineWidth = 3.4;
  for (const size of [r, r - 8]) { on.beginPath(); on.arc(x, y, size, 0, 2 * PI); on.stroke(); }
  for (let i = 0; i < 12; i += 1) {
    const [c, s] = [Math.cos((i * PI) / 6 + 0.2), sin((i * PI) / 6 + 0.2)];
    on.lineWidth = i % 2 ? 2.6 : 3.4;
    on.beginPath(); on.moveTo(x + c * (i % 2 ? r - 9 : 4), y + s * (i % 2 ? r - 9 : 4)); on.lineTo(x + c * (r + 5), y + s * (r + 5)); on.stroke();
  }
  round("#2f2118", x, y, 5);
  for (let i = 0; i < 26; i += 1) round("#f4faf4cc", x - 14 + chance() * 44, 196 + chance() * 9, 1 + chance() * 1.7);
  // Poplars, and what grows in front.
  for (const [px, py, tall] of [[22, 186, 74], [40, 190, 60], [8, 192, 52]]) {
    round("#2c4a34", px, py - tall / 2, tall / 8, tall / 2);
    round("#41664288", px - 2, py - tall / 2 - 3, tall / 14, tall / 2.6);
  }
  for (let i = 0; i < 200; i += 1) {
    const gx = chance() * 236, gy = 206 + chance() * 50, lean = chance() * 4 - 2;
    if (gx > 130 + (gy - 200) * 1.6) continue;
    on.strokeStyle = ["#3f5f2c", "#6d8a3f", "#89a04c"][i % 3];
    on.lineWidth = 1;
    on.beginPath(); on.moveTo(gx, gy); on.lineTo(gx + lean, gy - 6 - chance() * 5); on.stroke();
    if (i % 5 === 0) round(["#d8452f", "#f0c53d", "#f6efe0"][(i / 5) % 3], gx + lean, gy - 9, 1.9);
  }
}
