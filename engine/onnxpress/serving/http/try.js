
"use strict";
const at = (id) => document.getElementById(id);
const MOST = 50; // labels shown

function asked() {
  const second = at("second").value;
  return second ? [at("text").value, second] : at("text").value;
}

async function ask(route, body) {
  const headers = { "Content-Type": "application/json" };
  if (at("token").value) headers.Authorization = "Bearer " + at("token").value;
  const url = "models/" + encodeURIComponent(at("model").value) + "/" + route;
  const began = performance.now();
  const response = await fetch(url, { method: "POST", headers, body: JSON.stringify(body) });
  const content = await response.json();
  const ms = performance.now() - began;
  if (!response.ok) throw new Error(content.error || response.statusText);
  return { content, ms };
}

function nameOf(one) { // a label, or an entity: its words and what they are
  return one.label || one.word + ": " + (one.entity_group || one.entity);
}

function showLabels(found, ms) {
  const most = Math.max(1e-9, ...found.map((one) => Math.abs(one.score)));
  const scale = Math.max(1, most); // scores of a regression are not shares
  at("labels").tBodies[0].replaceChildren(...found.slice(0, MOST).map((one) => {
    const row = document.createElement("tr");
    const [name, bar, score] = ["th", "td", "td"].map((kind) => row.appendChild(document.createElement(kind)));
    name.textContent = nameOf(one);
    name.scope = "row";
    const filled = bar.appendChild(document.createElement("div"));
    filled.className = "bar";
    filled.style.width = 100 * Math.max(0, one.score) / scale + "%";
    score.textContent = one.score.toFixed(4);
    return row;
  }));
  const more = found.length > MOST ? "; " + (found.length - MOST) + " more labels" : "";
  const none = found.length ? "" : "; nothing was found";
  at("labels").caption.textContent = "Answered in " + ms.toFixed(1) + " ms, there and back" + more + none;
  at("labels").hidden = false;
}

function showWords(found, inputs, ms) {
  const most = Math.max(1e-9, ...found.words.map((word) => Math.abs(word.share)));
  const parts = typeof inputs === "string" ? [inputs] : inputs;
  const shown = [];
  parts.forEach((text, part) => {
    const points = Array.from(text); // as the server counts characters
    let end = 0;
    for (const word of found.words.filter((one) => one.part === part)) {
      shown.push(points.slice(end, word.start).join(""));
      const mark = document.createElement("mark");
      mark.textContent = points.slice(word.start, word.end).join("");
      mark.title = (word.share < 0 ? "" : "+") + word.share.toFixed(4);
      if (Math.abs(word.share) >= most / 100) {
        mark.className = word.share > 0 ? "for" : "against";
        mark.style.setProperty("--share", (Math.abs(word.share) / most).toFixed(2));
      }
      shown.push(mark);
      end = word.end;
    }
    shown.push(points.slice(end).join("") + (part + 1 < parts.length ? "\n" : ""));
  });
  at("why").querySelector(".text").replaceChildren(...shown);
  at("why").querySelector("p").textContent =
    "What speaks for " + found.label + " (solid) and against it (dotted), by " + found.method + "; "
    + ms.toFixed(0) + " ms";
  at("why").hidden = false;
}

async function during(work) {
  const buttons = [at("classify"), at("explain")];
  buttons.forEach((button) => { button.disabled = true; });
  at("error").hidden = true;
  try {
    await work();
  } catch (error) {
    at("error").textContent = error.message;
    at("error").hidden = false;
  } finally {
    buttons.forEach((button) => { button.disabled = false; });
  }
}

async function classify() {
  at("labels").hidden = at("why").hidden = true; // what is shown is never another text's
  const { content, ms } = await ask("predict", { inputs: asked() });
  showLabels(content, ms);
}

at("form").addEventListener("submit", (event) => { event.preventDefault(); during(classify); });
at("explain").addEventListener("click", () => during(async () => {
  const inputs = asked();
  await classify();
  const { content, ms } = await ask("explain", { inputs });
  showWords(content, inputs, ms);
}));
at("form").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); during(classify); }
});
