// Numbers and names as people read them.
export const CAMS = {
  grad_cam: ["Grad-CAM", "each channel weighed by its mean gradient: bright regions speak for the class"],
  grad_cam_pp: ["Grad-CAM++", "positive gradients weighed by where they lie: every part that speaks for the class"],
  layer_cam: ["LayerCAM", "each place weighed by its own positive gradient: finer, also at early layers"],
  noise_cam: ["NoiseCAM", "what Grad-CAM++ weighs more than LayerCAM does"],
  cam: ["CAM", "the class’s weights in the last layer: defined there only"],
};
export const TARGETS = {
  predicted: ["Own", "each picture’s own predicted class"],
  reference: ["Clean image’s", "the clean image’s class in every picture: what changes is the gaze, not the question"],
};
export const ATTACKS = { fgsm: "FGSM", pgd: "PGD" };

export const camName = (cam) => CAMS[cam]?.[0] ?? cam;
export const attackName = (name) => ATTACKS[name] ?? name;
export const two = (value) => (value === null || value === undefined ? "–" : value.toFixed(2).replace("-", "\u2212"));
export const percent = (share) => (share === null || share === undefined ? "–" : `${(100 * share).toFixed(share >= 0.9995 || share < 0.0005 ? 0 : 1)}\u00a0%`);
export const plural = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;
export const mib = (bytes) => `${Number((bytes / 2 ** 20).toFixed(2))} MiB`;
export const short = (name) => name.split(",")[0];

// A share of clean images in words: small ones as "1 in 200".
export function share(value) {
  if (value === null) return "an unknown share";
  if (value >= 0.095) return `${Math.round(100 * value)} in 100`;
  return `1 in ${Math.round(1 / value).toLocaleString("en")}`;
}

export function verdictWords(verdict) {
  if (!verdict) return ["No verdict", "No detector is loaded for this model, so nothing is said about attacks."];
  if (verdict.suspicion === null) return ["Cannot be judged", "Its suspicion is undefined, which counts as an alarm."];
  const rarity = `At most ${share(verdict.p_value)} clean images are at least this suspicious.`;
  const knows = Object.keys(verdict.reasons.layers).length > 0;
  return verdict.is_attack
    ? ["Looks like an attack", `${knows ? "Under small changes it holds less still than clean images do." : "Its suspicion is above the threshold."} ${rarity}`]
    : ["No sign of an attack", `${knows ? "Under small changes it holds about as still as clean images do." : "Its suspicion is not above the threshold."} ${rarity}`];
}
