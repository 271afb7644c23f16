"use strict";
// The form, and what happens when it is sent.

const byId = (id) => document.getElementById(id);
const form = byId("form");
const fields = form.elements;
const DENSE = "dense"; // the schedule that every exported bundle has
let info = null;
let running = null; // {controller, id, cancelled} of the request that is on its way

function notice(text) {
  byId("notice").textContent = text;
  byId("notice").hidden = !text;
}

function setRunning(state) {
  running = state;
  byId("controls").disabled = state !== null;
  byId("cancel").disabled = state === null;
}

function clearErrors() {
  notice("");
  byId("verdict").replaceChildren();
  for (const input of form.querySelectorAll("[aria-invalid]")) input.removeAttribute("aria-invalid");
  for (const error of form.querySelectorAll(".error")) error.hidden = true;
}

/** At its field if the form has it, else at the top. */
function showRefusal(error) {
  const input = error.field && fields.namedItem(error.field);
  const again = error.retryAfter && error.status !== 503 ? ` Try again in ${error.retryAfter} s.` : "";
  if (!input || !input.closest?.(".field")) return notice(error.message + again);
  const place = input.closest(".field").querySelector(".error");
  place.id = `${error.field}-error`;
  place.textContent = error.message;
  place.hidden = false;
  input.setAttribute("aria-invalid", "true");
  input.setAttribute("aria-describedby", place.id);
  setTimeout(() => input.focus()); // once the controls are enabled again
}

/** A number field's value; undefined leaves the choice to the service. */
function numberIn(input) {
  if (input.validity.badInput) throw new Refusal("This is no number.", { field: input.name });
  return input.value === "" || input.disabled ? undefined : Number(input.value);
}

/** Or else knows classes. */
const readsTexts = () => info.texts.length > 0;

function asked() {
  const subject = fields.subject.value;
  return {
    [subject]: subject === "label" ? Number(fields.label.value) : fields.prompt.value,
    negative_prompt: (readsTexts() && fields.negative_prompt.value) || undefined,
    size: info.sizes.length > 1 ? fields.size.value : undefined,
    schedule: fields.schedule.value,
    steps: numberIn(fields.steps),
    guidance: numberIn(fields.guidance),
    seed: fields.random.checked ? undefined : numberIn(fields.seed),
    previews: numberIn(fields.previews),
  };
}

/** One image in a panel of its own; undefined if it was cancelled. */
async function runIn(panel, body) {
  setRunning({ controller: new AbortController(), id: null, cancelled: false });
  const mine = running;
  const hear = (name, data) => {
    if (name === "accepted") mine.id = data.id;
    panel.hear(name, data);
  };
  try {
    const result = await generate(body, mine.controller.signal, hear);
    panel.finish(result, body.previews);
    return result;
  } catch (error) {
    panel.stop(mine.cancelled ? `Cancelled after step ${panel.step}` : "No image");
    if (mine.cancelled) return undefined;
    throw error;
  }
}

function openPanels(names) {
  const panels = names.map((name) => new Panel(name, info));
  byId("panels").replaceChildren(...panels.map((panel) => panel.node));
  return panels;
}

/** The schedule, then dense with everything else the same. */
async function runAll(body) {
  const compared = fields.compare.checked && !fields.compare.disabled;
  const [panel, dense] = openPanels(compared ? [body.schedule, DENSE] : [body.schedule]);
  const result = await runIn(panel, body);
  if (!result) return dense?.stop("Not asked for");
  fields.seed.value = result.seed;
  if (!dense) return undefined;
  const { seed, steps, guidance } = result;
  const other = await runIn(dense, { ...body, schedule: DENSE, seed, steps, guidance });
  return other && compare(panel, dense);
}

/** Both timelines on one scale, and the ratio of their sums. */
function compare(panel, dense) {
  const [ours, theirs] = [panel, dense].map(({ result }) => denoiserSeconds(result));
  for (const each of [panel, dense]) each.drawTimeline(each.result.timings.stages, Math.max(ours, theirs));
  byId("verdict").replaceChildren(
    `Denoiser ${seconds(ours)} instead of ${seconds(theirs)}: `,
    element("b", { text: `${(theirs / ours).toFixed(2)} times` }),
    ` as fast as dense, from the same seed.`,
  );
}

async function submit(event) {
  event.preventDefault();
  if (running) return;
  clearErrors();
  let failure = null;
  try {
    await runAll(asked());
  } catch (error) {
    failure = error;
  }
  setRunning(null);
  if (failure) await explain(failure);
}

/** In words, whatever it was; a service that is not ready is waited for. */
async function explain(failure) {
  if (!(failure instanceof Refusal)) {
    notice(`The page failed: ${failure.message}`);
    throw failure;
  }
  if (failure.status === 401) return askForKey();
  showRefusal(failure);
  if (failure.status === 503) await start();
}

function askForKey() {
  notice(apiKey ? "The service does not know this API key." : "The service asks for an API key.");
  byId("controls").disabled = true;
  byId("unlock").hidden = false;
  byId("key").focus();
}

async function unlock(event) {
  event.preventDefault();
  apiKey = byId("key").value.trim();
  byId("unlock").hidden = true;
  await start();
}

/** Told to the service first, so that it drops the request by name; the stream is let go whatever it answers. */
async function cancel() {
  const { controller, id } = running;
  running.cancelled = true;
  byId("cancel").disabled = true;
  try {
    if (id) await ask(`v1/requests/${encodeURIComponent(id)}`, { method: "DELETE" });
  } catch (error) {
    if (error.status !== 404) notice(`${error.message} The stream was closed instead.`); // 404: it is done already
  }
  controller.abort();
}

function showSubject() {
  for (const place of form.querySelectorAll(".subject")) {
    place.hidden = !place.querySelector(`[name="${fields.subject.value}"]`);
  }
}

/** What the schedule was made for, and whether dense beside it would tell anything. */
function showSchedule() {
  const schedule = info.schedules[fields.schedule.value];
  fields.steps.value = schedule.steps;
  fields.guidance.value = schedule.guidance;
  byId("schedule-cost").textContent = costOf(schedule);
  const missing = DENSE in info.schedules ? "" : "This bundle has no schedule named dense to compare with.";
  const why = fields.schedule.value === DENSE ? "This schedule is the dense one." : missing;
  fields.compare.disabled = Boolean(why);
  byId("compare-why").textContent = why;
  byId("compare-why").hidden = !why;
}

/** A model that reads texts has no class to choose, and begins with one of its own. */
function fillTexts() {
  const reads = readsTexts();
  byId("subjects").hidden = reads;
  byId("negative").hidden = !reads;
  byId("texts").replaceChildren(...info.texts.map((text) => element("option", { value: text })));
  if (!reads) return;
  fields.subject.value = "prompt";
  fields.prompt.placeholder = "what to show";
  fields.prompt.setAttribute("list", "texts");
  fields.prompt.value = info.texts[0];
}

function fillForm() {
  const options = info.labels.map((label, id) => element("option", { text: label, value: id }));
  fields.label.replaceChildren(...options);
  fillTexts();
  fields.size.replaceChildren(...info.sizes.map((size) => element("option", { text: size, value: size })));
  byId("sizes").hidden = info.sizes.length < 2;
  fields.schedule.replaceChildren(...Object.keys(info.schedules).map((name) => element("option", { text: name, value: name })));
  fields.schedule.value = info.default;
  byId("served").textContent = `${info.model} on ${info.backend}, bundle ${info.bundle}`;
  showSubject();
  showSchedule();
}

/** Wait for the service, then offer the form. */
async function start() {
  byId("controls").disabled = true;
  let found;
  try {
    found = await infoWhenReady((error) => {
      const why = error.status === 503 ? "The service is not ready. " : "";
      notice(`${why}${error.message} Trying again by itself.`);
    });
  } catch (failure) {
    return explain(failure);
  }
  notice("");
  const known = info?.bundle === found.bundle; // then what was filled in stays
  info = found;
  if (!known) fillForm();
  byId("controls").disabled = false;
}

form.addEventListener("submit", submit);
byId("unlock").addEventListener("submit", unlock);
byId("cancel").addEventListener("click", cancel);
for (const radio of fields.subject) radio.addEventListener("change", showSubject);
fields.schedule.addEventListener("change", showSchedule);
fields.random.addEventListener("change", () => {
  fields.seed.disabled = fields.random.checked;
});
start();
