// The page of the server. Texts of users and of students are only set as textContent.

const get = (id) => document.getElementById(id);
const SHOWN_ROWS = 200;
let models = [];
let fileWork = null; // the AbortController of the file that is being answered
let downloadUrl = null;

// Requests.

class ServerError extends Error {
  constructor(status, message, seconds) {
    super(message);
    this.status = status;
    this.seconds = seconds;
  }
}

async function request(path, body, signal) {
  const headers = {};
  const key = get("key").value.trim();
  if (key) headers.Authorization = `Bearer ${key}`;
  const options = { headers, signal };
  if (body !== undefined) {
    headers["Content-Type"] = "application/json";
    options.method = "POST";
    options.body = JSON.stringify(body);
  }
  let response;
  let content = null;
  try {
    response = await fetch(path, options);
    content = await response.json();
  } catch (error) {
    if (signal?.aborted) throw error;
    if (!response) throw new ServerError(0, "The server cannot be reached.");
  }
  if (response.ok && content) return content;
  const message = content?.error?.message ?? `The server answered ${response.status}.`;
  throw new ServerError(response.status, message, response.headers.get("Retry-After"));
}

// A full queue is not an error of a file: the request is sent again later.
async function patientRequest(path, body, signal) {
  for (;;) {
    try {
      return await request(path, body, signal);
    } catch (error) {
      if (error.status !== 429) throw error;
      const seconds = Number(error.seconds) || 1;
      await new Promise((done) => setTimeout(done, 1000 * seconds));
      signal?.throwIfAborted();
    }
  }
}

// Models.

const model = () => models.find((one) => one.id === get("model").value);

async function loadModels() {
  try {
    models = (await request("v1/models")).data;
  } catch (error) {
    if (error.status === 401) get("key-field").hidden = false;
    show("status", error.status === 401 ? "Enter the server's key." : error.message, true);
    if (error.status === 503) setTimeout(loadModels, 1000);
    return;
  }
  show("status", "");
  get("model").replaceChildren(...models.map((one) => new Option(one.id, one.id)));
  showModel();
}

function showModel() {
  const { columns, explains } = model();
  get("explain").disabled = !explains;
  if (!explains) get("explain").checked = false;
  get("columns").replaceChildren(...columns.map(columnField));
  get("needed").textContent = `It needs ${columns.map((name) => `“${name}”`).join(", ")}.`;
}

function columnField(name, number) {
  const field = element("p", "", "field");
  const label = element("label", model().columns.length > 1 ? name : "Input");
  const box = element("textarea");
  label.htmlFor = box.id = `column-${number}`;
  box.required = true;
  field.append(label, box);
  return field;
}

// One input.

async function ask(event) {
  event.preventDefault();
  const boxes = [...get("columns").querySelectorAll("textarea")];
  if (!boxes.length) return loadModels();
  const names = model().columns;
  const input = Object.fromEntries(boxes.map((box, i) => [names[i], box.value]));
  get("answer").hidden = true;
  get("ask").disabled = true;
  show("status", "The student answers …");
  try {
    const body = { model: model().id, input, explain: get("explain").checked };
    showAnswer((await request("v1/predict", body)).predictions[0]);
    show("status", "");
  } catch (error) {
    if (error.status === 401) get("key-field").hidden = false;
    show("status", error.message, true);
  } finally {
    get("ask").disabled = false;
  }
}

function showAnswer(answer) {
  get("label").textContent = answer.predicted_label;
  const shares = Object.entries(answer.probabilities ?? {});
  shares.sort((a, b) => b[1] - a[1]);
  get("bars").replaceChildren(...shares.map(barRow));
  get("shares").hidden = !shares.length;
  const rationale = answer.predicted_rationale;
  get("rationale").hidden = rationale === undefined;
  get("rationale-text").textContent = rationale ?? "";
  get("answer").hidden = false;
}

function barRow([label, share]) {
  const row = element("tr");
  const name = element("th", label);
  name.scope = "row";
  const cell = element("td", "", "bar");
  const track = element("div", "", "track");
  const fill = element("div", "", "fill");
  fill.style.width = `${100 * share}%`;
  track.setAttribute("aria-hidden", "true");
  track.append(fill);
  cell.append(track);
  row.append(name, cell, element("td", percent(share), "share"));
  return row;
}

const percent = (share) => `${(100 * share).toFixed(1)} %`;

// A CSV file.

// 'a,"b ""c"""\r\n1,2' -> [["a", 'b "c"'], ["1", "2"]]
function parseCsv(text) {
  const rows = [];
  let row = [];
  let cell = "";
  let quoted = false;
  for (let i = 0; i < text.length; i++) {
    const character = text[i];
    if (quoted) {
      if (character !== '"') cell += character;
      else if (text[i + 1] === '"') cell += text[++i];
      else quoted = false;
    } else if (character === '"' && cell === "") {
      quoted = true;
    } else if (character === ",") {
      row.push(cell);
      cell = "";
    } else if (character === "\n" || character === "\r") {
      if (character === "\r" && text[i + 1] === "\n") i++;
      rows.push([...row, cell]);
      row = [];
      cell = "";
    } else {
      cell += character;
    }
  }
  if (quoted) throw new Error("A quote is not closed.");
  if (row.length || cell) rows.push([...row, cell]);
  return rows.filter((cells) => cells.some((one) => one.trim()));
}

function csvLine(cells) {
  const quote = (cell) => `"${String(cell).replaceAll('"', '""')}"`;
  return cells.map((cell) => (/[",\r\n]/.test(cell) ? quote(cell) : cell)).join(",");
}

async function readRows(file) {
  const content = await file.arrayBuffer();
  let text;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(content);
  } catch {
    throw new Error("The file is not UTF-8. Save it as “CSV UTF-8”.");
  }
  const [header, ...rows] = parseCsv(text);
  if (!rows.length) throw new Error("The file has no rows.");
  const missing = model().columns.find((name) => !header.includes(name));
  if (missing !== undefined) {
    throw new Error(`The file has no column “${missing}”. It has: ${header.join(", ")}.`);
  }
  const uneven = rows.findIndex((cells) => cells.length !== header.length);
  if (uneven >= 0) {
    const found = `${rows[uneven].length} cells, expected ${header.length}`;
    throw new Error(`Row ${uneven + 1} has ${found}.`);
  }
  return { header, rows };
}

async function answerFile(file) {
  fileWork?.abort();
  const work = (fileWork = new AbortController());
  get("file-result").hidden = true;
  show("file-status", "");
  try {
    const { header, rows } = await readRows(file);
    const answers = await answerRows(header, rows, work.signal);
    if (work.signal.aborted) return;
    showFile(header, rows, answers);
    const words = answers.length === 1 ? "row is" : "rows are";
    show("file-status", `${file.name}: ${answers.length} ${words} answered.`);
  } catch (error) {
    if (!work.signal.aborted) show("file-status", error.message, true);
  } finally {
    if (fileWork === work) get("file-work").hidden = true;
  }
}

async function answerRows(header, rows, signal) {
  const { id, columns, max_inputs: size } = model();
  const places = columns.map((name) => [name, header.indexOf(name)]);
  const inputs = rows.map((cells) =>
    Object.fromEntries(places.map(([name, place]) => [name, cells[place]])),
  );
  const explain = get("explain").checked;
  const answers = [];
  get("file-work").hidden = false;
  get("progress").max = rows.length;
  for (let start = 0; start < rows.length; start += size) {
    get("progress").value = start;
    const body = { model: id, input: inputs.slice(start, start + size), explain };
    try {
      answers.push(...(await patientRequest("v1/predict", body, signal)).predictions);
    } catch (error) {
      const place = (found, number) => `row ${start + Number(number) + 1}`;
      error.message = error.message.replace(/^input\[(\d+)\]/, place);
      throw error;
    }
  }
  return answers;
}

const ANSWER_COLUMNS = ["predicted_label", "probability", "predicted_rationale"];

function answerCells(answer) {
  const share = answer.probabilities?.[answer.predicted_label];
  return [answer.predicted_label, share ?? "", answer.predicted_rationale ?? ""];
}

function showFile(header, rows, answers) {
  const columns = [...header, ...ANSWER_COLUMNS];
  const table = rows.map((cells, i) => [...cells, ...answerCells(answers[i])]);
  const lines = [columns, ...table].map(csvLine).join("\r\n");
  if (downloadUrl) URL.revokeObjectURL(downloadUrl);
  downloadUrl = URL.createObjectURL(new Blob([lines], { type: "text/csv" }));
  get("download").href = downloadUrl;
  const titles = columns.map((name) => element("th", name));
  titles.forEach((title) => (title.scope = "col"));
  get("file-columns").replaceChildren(...titles);
  const place = header.length + 1;
  const shown = table.slice(0, SHOWN_ROWS).map((cells) => {
    const row = element("tr");
    row.append(
      ...cells.map((cell, i) =>
        element("td", i === place && cell !== "" ? percent(cell) : cell),
      ),
    );
    return row;
  });
  get("file-rows").replaceChildren(...shown);
  get("file-result").hidden = false;
}

// Elements.

function element(name, text = "", className = "") {
  const made = document.createElement(name);
  made.textContent = text;
  made.className = className;
  return made;
}

function show(id, message, isError = false) {
  get(id).textContent = message;
  get(id).classList.toggle("error", isError);
}

function allowDrop() {
  const zone = get("drop");
  // A file that misses the zone would replace the page.
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => event.preventDefault());
  zone.addEventListener("dragover", () => zone.classList.add("over"));
  zone.addEventListener("dragleave", () => zone.classList.remove("over"));
  zone.addEventListener("drop", (event) => {
    zone.classList.remove("over");
    if (event.dataTransfer.files.length) answerFile(event.dataTransfer.files[0]);
  });
}

get("form").addEventListener("submit", ask);
get("model").addEventListener("change", showModel);
get("key").addEventListener("change", loadModels);
get("file").addEventListener("change", (event) => {
  if (event.target.files.length) answerFile(event.target.files[0]);
  event.target.value = "";
});
get("cancel").addEventListener("click", () => {
  fileWork?.abort();
  show("file-status", "Cancelled.");
});
allowDrop();
loadModels();
