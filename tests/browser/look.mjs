// What a check looks at inside a page. Runs in the page, as text.

/** Returns what is wrong with the page as it is laid out now, in sentences. */
export function look() {
  const faults = [];
  const name = (element) => {
    const text = (element.textContent ?? "").trim().replace(/\s+/g, " ").slice(0, 40);
    return `<${element.tagName.toLowerCase()} class="${element.className}"> ${text}`;
  };

  // Nothing is wider than the window, unless it scrolls by itself.
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth > width) {
    const wide = [...document.querySelectorAll("body *")].filter(
      (element) => element.getBoundingClientRect().right > width + 1,
    );
    faults.push(`wider than ${width} pixels: ${wide.slice(-3).map(name).join(" | ")}`);
  }

  // Text can be read: WCAG 2.2, contrast (minimum), 4.5 to 1, or 3 to 1 where it is large.
  const parse = (colour) => (colour.match(/[\d.]+/g) ?? []).map(Number);
  const luminance = ([r, g, b]) => {
    const linear = [r, g, b].map((value) => {
      const part = value / 255;
      return part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const seen = new Set();
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let text = texts.nextNode(); text; text = texts.nextNode()) {
    const element = text.parentElement;
    if (!text.data.trim() || seen.has(element) || !element.checkVisibility()) continue;
    seen.add(element);
    const style = getComputedStyle(element);
    const size = parseFloat(style.fontSize);
    const isLarge = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    const [light, dark] = [luminance(parse(style.color)), luminance(ground(element))].sort(
      (a, b) => b - a,
    );
    const contrast = (light + 0.05) / (dark + 0.05);
    if (contrast < (isLarge ? 3 : 4.5)) {
      faults.push(`contrast ${contrast.toFixed(2)}: ${name(element)}`);
    }
    if (size < 11) faults.push(`${size} pixels are too small to read: ${name(element)}`);
  }

  // A reader who listens finds one top, and no level is jumped over.
  const levels = [...document.querySelectorAll("h1, h2, h3, h4, h5, h6")].map((heading) =>
    Number(heading.tagName[1]),
  );
  if (levels.filter((level) => level === 1).length !== 1) faults.push("not one <h1>");
  levels.reduce((above, level) => {
    if (level > above + 1) faults.push(`<h${level}> under <h${above}>`);
    return level;
  }, 0);

  // Every link in the page leads somewhere.
  const ids = [...document.querySelectorAll("[id]")].map((element) => element.id);
  if (new Set(ids).size !== ids.length) faults.push("an id stands twice");
  for (const link of document.querySelectorAll('a[href^="#"]')) {
    const id = decodeURIComponent(link.getAttribute("href").slice(1));
    if (!ids.includes(id)) faults.push(`no place has the id of ${link.getAttribute("href")}`);
  }
  return faults;
}
