/** Median and extremes of some numbers. */
export function summary(numbers) {
  const sorted = numbers.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
  return { median, min: sorted[0], max: sorted.at(-1) };
}

/** A number with three digits that count, thousands parted; "-" where nothing could be measured. */
export function shown(number) {
  if (!Number.isFinite(number)) return "-";
  if (Math.abs(number) >= 100) return Math.round(number).toLocaleString("en-US");
  return number.toFixed(Math.abs(number) >= 10 ? 1 : 2);
}

export const shownSummary = ({ median, min, max }) => (min === max ? shown(median) : `${shown(median)} (${shown(min)}-${shown(max)})`);
