"use strict";
const at = (id) => document.getElementById(id);
const status = at("status"), zone = at("zone"), result = at("result");
let turn = 0;

function headers() {
  const key = at("key").value;
  return key ? { "X-API-Key": key } : {};
}

function say(text, wrong = false) {
  status.textContent = text;
  status.className = wrong ? "wrong" : "soft";
}

async function models() {
  try {
    const answer = await fetch("v2/repository/index", { method: "POST", headers: headers() });
    if (answer.status === 401) at("secret").hidden = false;
    if (!answer.ok) return;
    const names = [...new Set((await answer.json()).map((model) => model.name))];
    const chosen = at("model").value;
    at("model").replaceChildren(...names.map((name) => new Option(name, name, false, name === chosen)));
    at("choice").hidden = names.length < 2;
  } catch { /* asked again when a picture comes */ }
}

function percent(p) {
  return p >= 0.0005 ? (100 * p).toFixed(1) + " %" : "< 0.1 %";
}

function show(answer) {
  const found = answer.predictions[0];
  at("which").textContent = `${found.file}, by ${answer.model}, version ${answer.version}`;
  at("classes").replaceChildren(...found.top.map((each) => {
    const item = document.createElement("li"), bar = document.createElement("i");
    const line = document.createElement("span"), value = document.createElement("b");
    bar.style.width = 100 * each.probability + "%";
    value.textContent = percent(each.probability);
    line.append(each.class, value);
    item.append(bar, line);
    return item;
  }));
  at("unsure").hidden = found.accepted !== false;
  at("picture").alt = `The image, called ${found.class}`;
  result.hidden = false;
  const unsure = found.accepted === false ? ", but not sure enough" : "";
  say(`${found.class}, ${percent(found.probability)}${unsure}`);
}

async function classify(file) {
  const mine = ++turn;
  result.hidden = true;
  if (at("picture").src) URL.revokeObjectURL(at("picture").src);
  at("picture").src = URL.createObjectURL(file);
  say(`${file.name} is being looked at`);
  zone.setAttribute("aria-busy", "true");
  try {
    if (!at("model").options.length) await models();
    const model = at("model").value;
    const form = new FormData();
    form.append("file", file, file.name || "image");
    const address = model ? `classify/${encodeURIComponent(model)}` : "classify";
    const answer = await fetch(address, { method: "POST", body: form, headers: headers() });
    const found = await answer.json();
    if (mine !== turn) return;
    if (answer.ok) show(found);
    else say(found.error, true);
  } catch {
    if (mine === turn) say("The server does not answer.", true);
  } finally {
    if (mine === turn) zone.removeAttribute("aria-busy");
  }
}

function first(files) {
  if (files && files.length) classify(files[0]);
}

at("file").addEventListener("change", (event) => {
  first(event.target.files);
  event.target.value = "";
});
for (const kind of ["dragenter", "dragover"]) {
  document.addEventListener(kind, (event) => { event.preventDefault(); zone.classList.add("over"); });
}
for (const kind of ["dragleave", "drop"]) {
  document.addEventListener(kind, (event) => { event.preventDefault(); zone.classList.remove("over"); });
}
document.addEventListener("drop", (event) => first(event.dataTransfer.files));
document.addEventListener("paste", (event) => first(event.clipboardData.files));
at("key").addEventListener("change", models);
models();
