"use strict";

// The table of all images: every row is in the page as JSON, one page of rows in the document.

const table = JSON.parse(document.getElementById("rows").textContent);
const ROWS_PER_PAGE = 25;
const column = Object.fromEntries(table.columns.map(([name], place) => [name, place]));
const CARD = table.columns.length; // place of a row's card number, null when it has none
const CHOICES = ["label", "detector", "modality", "result", "state"];
const text = new Intl.Collator(undefined, { numeric: true });
const haystacks = table.rows.map((row) => row.slice(0, CARD).join("\n").toLowerCase());
const view = { shown: table.rows.map((_, index) => index), sort: null, down: false, page: 0 };
const at = (id) => document.getElementById(id);

function element(tag, words, name) {
  const made = document.createElement(tag);
  if (words !== undefined) made.textContent = words;
  if (name) made.className = name;
  return made;
}

function number(value) {
  return value === null ? "–" : String(Number(value.toPrecision(4)));
}

const CELLS = {
  path: (value) => {
    const cell = element("td", undefined, "path");
    cell.title = value;
    cell.append(element("bdi", value.startsWith(table.root) ? value.slice(table.root.length) : value));
    return cell;
  },
  text: (value) => {
    const cell = element("td", value ?? "");
    cell.title = value ?? "";
    return cell;
  },
  number: (value) => element("td", number(value), "n"),
  p: (value) => element("td", value === null ? "–" : value.toPrecision(2), "n"),
  count: (value) => element("td", value || "", "n"),
  flag: (value) => element("td", value ? "flagged" : "", value ? "yes" : ""),
  result: (value) => element("td", value, { altered: "yes", "not verified": "doubt" }[value]),
};

function line(index) {
  const row = table.rows[index];
  const made = element("tr");
  made.append(...table.columns.map(([, , kind], place) => CELLS[kind](row[place])));
  const card = row[CARD];
  if (card !== null) {
    const link = element("a");
    link.href = `#card-${card}`;
    const name = made.querySelector("bdi");
    link.append(...name.childNodes);
    name.append(link);
    made.className = "linked";
    made.addEventListener("click", ({ target }) => { if (target !== link) link.click(); });
  }
  return made;
}

function draw() {
  const pages = Math.max(1, Math.ceil(view.shown.length / ROWS_PER_PAGE));
  view.page = Math.min(view.page, pages - 1);
  const first = view.page * ROWS_PER_PAGE;
  at("list").tBodies[0].replaceChildren(...view.shown.slice(first, first + ROWS_PER_PAGE).map(line));
  at("count").textContent = `${view.shown.length.toLocaleString("en")} of ${table.rows.length.toLocaleString("en")} rows`;
  at("page").textContent = `Page ${view.page + 1} of ${pages}`;
  at("back").disabled = view.page === 0;
  at("next").disabled = view.page === pages - 1;
  for (const head of at("list").tHead.rows[0].cells) {
    if (head.cellIndex === view.sort) head.setAttribute("aria-sort", view.down ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
  }
}

function compare(a, b, words) {
  if (a === b) return 0;
  if (a === null || a === "") return Infinity; // what is missing goes last, up or down
  if (b === null || b === "") return -Infinity;
  return (words ? text.compare(a, b) : a - b) * (view.down ? -1 : 1);
}

function select() {
  const words = at("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const which = {
    all: () => true,
    flagged: (row) => row[column.flagged],
    passed: (row) => !row[column.flagged] && !row[column.error],
    error: (row) => row[column.error],
    warning: (row) => row[column.warnings] > 0,
  }[at("which")?.value ?? "all"];
  const chosen = [...document.querySelectorAll("#choices select")].filter((choice) => choice.value);
  view.shown = [...table.rows.keys()].filter((index) => {
    const row = table.rows[index];
    return which(row)
      && words.every((word) => haystacks[index].includes(word))
      && chosen.every((choice) => row[column[choice.name]] === choice.value);
  });
  if (view.sort !== null) {
    const kind = table.columns[view.sort][2];
    const words = ["text", "path", "result"].includes(kind);
    const value = (index) => table.rows[index][view.sort];
    view.shown.sort((a, b) => compare(value(a), value(b), words) || a - b);
  }
  view.page = 0;
  draw();
}

function offerChoices() {
  for (const name of CHOICES.filter((name) => name in column)) {
    const values = [...new Set(table.rows.map((row) => row[column[name]]))].filter(Boolean);
    if (values.length < 2) continue;
    const title = table.columns[column[name]][1];
    const choice = element("select");
    choice.name = name;
    choice.setAttribute("aria-label", title);
    choice.append(new Option(`${title}: any`, ""), ...values.sort(text.compare).map((v) => new Option(v, v)));
    at("choices").append(choice);
  }
}

function drawHead() {
  at("list").tHead.rows[0].append(...table.columns.map(([, title, kind], place) => {
    const head = element("th", undefined, ["number", "p", "count"].includes(kind) ? "n" : "");
    const button = element("button", title);
    button.type = "button";
    button.addEventListener("click", () => {
      view.down = view.sort === place ? !view.down : kind === "count" || kind === "flag";
      view.sort = place;
      select();
    });
    head.append(button);
    return head;
  }));
}

// The cards: opacity, outlines, planes and detectors.

function showPlain(card) {
  const plain = card.querySelector(".plain-picture");
  if (plain) plain.src = card.querySelector(".plane:not([hidden]) .picture").src;
}

function showPlane(card, place) {
  const planes = card.querySelectorAll(".plane");
  planes.forEach((plane, index) => { plane.hidden = index !== place; });
  card.querySelector(".slice").value = place;
  card.querySelector(".planes output").textContent = planes[place].dataset.position;
  showPlain(card);
}

function showHeat(card, heat) {
  for (const part of card.querySelectorAll("[data-heat]")) part.hidden = part.dataset.heat !== heat;
}

function setOpacity(percent) {
  document.documentElement.style.setProperty("--heat", percent / 100);
  for (const own of document.querySelectorAll(".card .opacity")) {
    own.value = percent;
    own.closest(".card").style.removeProperty("--heat");
  }
}

document.addEventListener("input", ({ target }) => {
  const card = target.closest(".card");
  if (target.id === "opacity") setOpacity(target.value);
  else if (target.id === "outlines") at("flagged").classList.toggle("bare", !target.checked);
  else if (target.matches(".opacity")) card.style.setProperty("--heat", target.value / 100);
  else if (target.matches(".slice")) showPlane(card, Number(target.value));
  else if (target.matches(".heats")) showHeat(card, target.value);
  else if (target.closest(".filters")) select();
});

document.addEventListener("click", ({ target }) => {
  if (!target.matches(".goto")) return;
  const card = target.closest(".card");
  const planes = [...card.querySelectorAll(".plane")];
  const place = planes.findIndex((plane) => plane.dataset.index === target.dataset.index);
  if (place >= 0) showPlane(card, place);
});

// A printed page cannot be opened: show what is folded away.
addEventListener("beforeprint", () => {
  for (const folded of document.querySelectorAll("details")) folded.open = true;
});

at("back").addEventListener("click", () => { view.page -= 1; draw(); });
at("next").addEventListener("click", () => { view.page += 1; draw(); });

document.querySelectorAll(".card").forEach(showPlain);
drawHead();
offerChoices();
select();
