// Colour maps as 17 colours at equal distances; those of matplotlib (viridis, magma: Smith and van der Walt 2015;
// cividis: Nuñez et al. 2018; RdBu, PuOr: Brewer).
const COLOUR_MAPS = {
  sequential: {
    viridis: "44015448186a472d7b4240863b528b33638d2c728e26828e21918c1fa08828ae803fbc735ec96284d44baddc30d8e219fde725",
    magma: "0000040a08221d114736106b51127c6a1c818326819c2e7fb73779d0416fe75263f56b5cfc8961fea772fec488fde2a3fcfdbf",
    cividis: "00224e002e6a1a386f32436d434e6c535a6d61656f6f70737d7c788c88789b9476aba072bcae6ccdbb63dec958f0d846fee838",
  },
  diverging: {
    "blue–red": "0530611752902a71b23f8ec06bacd19bc9e0c2ddece0ecf3f7f6f6fbe5d8fbccb4f5aa89e48066d05548ba2832930e2667001f",
    "purple–orange": "2d004b4518715f3a917b6aa89990bfb7b1d5cfcfe5e4e5f0f7f7f6fce8cdfed59ffdbc6bee9b39d97b12bd61099e4c077f3b08",
  },
};
COLOUR_MAPS.ratio = COLOUR_MAPS.diverging;
/** The colours of groups and of lines, in their order: those of figures (Okabe and Ito 2008), and a grey for what stays behind. */
const INK = getComputedStyle(document.documentElement).getPropertyValue("--ink").trim() || "#000000";
const LINE_COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", INK, "#7f7f7f"];
const colourOfCurve = (curve, index) => LINE_COLOURS[(curve.colour ?? index) % LINE_COLOURS.length];
const GROUP_COLOURS = LINE_COLOURS.slice(0, 7);
const BLANK = [0x9a, 0x9a, 0x9a];

/** The colours of a map, [red, green, blue] from 0 to 255 each. */
function colours(map) {
  return map.match(/.{6}/g).map((colour) => colour.match(/../g).map((number) => parseInt(number, 16)));
}

/** Red, green and blue, 0 to 255, of a share of the way through a map; values beyond its ends have the ends' colours. */
function colourOf(map, share) {
  if (!Number.isFinite(share)) return BLANK;
  const last = map.length - 1;
  const place = Math.min(Math.max(share, 0), 1) * last;
  const below = Math.min(Math.floor(place), last - 1);
  const part = place - below;
  return [0, 1, 2].map((index) => Math.round(map[below][index] + part * (map[below + 1][index] - map[below][index])));
}

function colourOfGroup(group) {
  return GROUP_COLOURS[group % GROUP_COLOURS.length];
}
