// The page: one panel for each model, for one image at a time.

const main = document.getElementById("main");
let generation = 0;

async function showImage(number) {
  const current = ++generation;
  const panels = await Promise.all(contents.models.map((model, i) => modelPanel(model, contents.views[number][i])));
  if (current !== generation) return; // another image was chosen meanwhile
  for (const panel of panels) {
    const others = panels.filter((other) => other !== panel);
    panel.follow.attention = (...place) => others.forEach((other) => other.attention?.follow(...place));
    panel.follow.method = (label) => others.forEach((other) => other.methods?.followMethod(label));
    panel.follow.level = (level) => others.forEach((other) => other.methods?.followLevel(level));
  }
  main.replaceChildren(...panels.map((panel) => panel.node));
  main.classList.toggle("several", panels.length > 1);
  main.dataset.image = number;
  window.vitjax = { contents, panels };
}

async function modelPanel(model, view) {
  const follow = { attention: () => {}, method: () => {}, level: () => {} };
  const photo = await array(view.photo, Uint8Array);
  const panel = { follow, attention: null, methods: null };
  if (view.attention) {
    const attention = await Attention.read(view.attention, model.tokens);
    panel.attention = new AttentionPanel(model, view, photo, attention, (...place) => follow.attention(...place));
  }
  if (model.methods.length) {
    const listeners = { onMethod: (label) => follow.method(label), onLevel: (level) => follow.level(level) };
    panel.methods = new MethodPanel(model, view, photo, listeners);
  }
  panel.node = element(
    "article",
    {},
    element("div", { className: "model" }, element("h2", { textContent: model.name }), predictions(view)),
    panel.attention?.node,
    panel.methods?.node,
  );
  return panel;
}

function predictions(view) {
  if (!view.top?.length) return null;
  const items = view.top.map(([name, probability]) => {
    const bar = element("span", { className: "share" });
    bar.style.width = 100 * probability + "%";
    return element(
      "li",
      {},
      element("span", { className: "name", textContent: name, title: name }),
      element("span", { className: "track" }, bar),
      element("span", { className: "value", textContent: percent(probability) }),
    );
  });
  return element("ol", { className: "top", "aria-label": "most probable classes" }, ...items);
}

function imageSelect() {
  if (contents.images.length < 2) return null;
  const select = element("select", { id: "image", on: { change: () => showImage(select.selectedIndex) } });
  select.append(...contents.images.map((name) => element("option", { textContent: name })));
  return element("label", {}, "image ", select);
}

function foot() {
  const notes = [
    "Maps of attention show each patch's share, scaled to the largest. Maps of relevance are upsampled bilinearly and " +
      "scaled to their own range.",
    "Attention of single heads is stored in one byte: a weight is off by less than 0.4 % of the largest one in its row. " +
      "The mean over heads has two bytes; rollout is computed from it here, with the bound that is shown beside it.",
  ];
  const maps = contents.views.flat(2).flatMap((view) => view.maps.flat());
  if (maps.some((map) => map.removal)) {
    notes.push(
      "The curve is the one that perturbation_auc integrates with measure=probability: removed pixels take the mean " +
        "colour, in steps of 5 %.",
    );
  }
  const models = contents.about.map((about) => {
    const weights = Object.entries(about.weights).map(([key, value]) => `${key} ${value}`);
    const lines = [`weights: ${weights.join(", ") || "none"}`, `preprocessing: ${about.preprocessing}`, about.versions];
    return element("details", {}, element("summary", { textContent: about.model }), ...lines.map((line) => element("p", {}, line)));
  });
  return [...notes.map((note) => element("p", {}, note)), ...models];
}

const name = contents.images.length === 1 ? contents.images[0] : `${contents.images.length} images`;
document.getElementById("header").append(element("h1", { textContent: name }), imageSelect() ?? "");
if (typeof DecompressionStream === "undefined") {
  document.getElementById("state").textContent = "This browser is too old for this page: it lacks DecompressionStream.";
} else {
  document.getElementById("footer").append(...foot());
  await showImage(0);
}
