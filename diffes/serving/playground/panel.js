"use strict";
// One result: the image, live and done, and the time of its stages. Text is set as text, never as markup.

function element(tag, { text = "", cls = "", ...attributes } = {}) {
  const made = document.createElement(tag);
  made.textContent = text;
  if (cls) made.className = cls;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

const seconds = (value) => (value < 0.1 ? `${(value * 1000).toFixed(1)} ms` : `${value.toPrecision(3)} s`);
const percent = (share) => `${(share * 100).toFixed(0)} %`;
const kept = (stage) => (stage.share_kept === 1 ? "dense" : percent(stage.share_kept));
const denoiserSeconds = (result) => result.timings.stages.reduce((sum, stage) => sum + stage.seconds, 0);
const pngOf = (base64) => `data:image/png;base64,${base64}`;

function costOf(schedule) {
  const count = `${schedule.stages.length} ${schedule.stages.length === 1 ? "stage" : "stages"}`;
  const share = `${(schedule.macs_removed * 100).toFixed(1)} % of MACs removed`;
  const removed = schedule.macs_removed === 0 ? "nothing removed" : share;
  return `${removed}, ${count}, ${schedule.sampler}`;
}

class Panel {
  constructor(name, info) {
    this.name = name;
    this.info = info;
    this.schedule = info.schedules[name];
    this.step = 0;
    this.node = document.getElementById("panel").content.cloneNode(true).firstElementChild;
    this.node.dataset.schedule = name;
    this.at("h2").textContent = name;
    this.at(".cost").textContent = costOf(this.schedule);
    this.at(".frame").style.aspectRatio = `${info.image.width} / ${info.image.height}`;
    this.say("Waiting");
    this.drawTimeline([], 0);
  }

  at(selector) {
    return this.node.querySelector(selector);
  }

  say(text) {
    this.at(".state").textContent = text;
  }

  /** An event of the stream. */
  hear(name, data) {
    if (name === "accepted") this.say("In the queue");
    if (name === "progress") this.showProgress(data);
    if (name === "preview") this.showPreview(data);
  }

  showProgress({ step, steps, stage }) {
    this.step = step;
    this.at("progress").max = steps;
    this.at("progress").value = step;
    this.say(`Step ${step} of ${steps}, stage ${stage}: ${kept(this.schedule.stages[stage])}`);
    [...this.at("tbody").rows].forEach((row, index) => row.classList.toggle("now", index === stage));
  }

  showPreview({ b64_png }) {
    this.showPicture(b64_png, `Preview after step ${this.step}`);
    const figure = element("figure");
    figure.append(
      element("img", { src: pngOf(b64_png), alt: `Preview after step ${this.step}` }),
      element("figcaption", { text: `step ${this.step}` }),
    );
    this.at(".previews").append(figure);
  }

  showPicture(base64, alt) {
    const picture = this.at(".picture");
    picture.onload = () => picture.classList.toggle("crisp", picture.clientWidth >= 2 * picture.naturalWidth);
    Object.assign(picture, { src: pngOf(base64), alt, hidden: false });
  }

  /** The finished image; bars are drawn on a scale of their own until `drawTimeline` is told another. */
  finish(result, previews) {
    this.result = result;
    const subject = result.prompt ?? this.info.labels[result.label];
    this.showPicture(result.images[0], `${subject}, seed ${result.seed}, schedule ${result.schedule}`);
    this.node.classList.add("done");
    this.say(`Done in ${seconds(result.timings.total_seconds)}`);
    if (previews && this.schedule.stages.length === 1) {
      this.at(".previews").replaceChildren(
        element("p", { cls: "hint", text: "No previews: they are made where stages end, and there is one stage." }),
      );
    }
    this.showFacts(subject);
    this.offer(`${subject.slice(0, 40)}-${result.seed}-${result.schedule}`.replace(/[^\w-]+/g, "-") + ".png");
    this.drawTimeline(result.timings.stages, denoiserSeconds(result));
  }

  /** `state` says why there is no image. */
  stop(state) {
    this.say(state);
    for (const row of this.at("tbody").rows) row.classList.remove("now");
  }

  showFacts(subject) {
    const { prompt, negative_prompt, size, seed, schedule, steps, guidance, bundle, timings } = this.result;
    const facts = {
      [prompt === null ? "Class" : "Prompt"]: subject,
      ...(negative_prompt === null ? {} : { "Negative prompt": negative_prompt }),
      Size: size,
      Seed: seed,
      Schedule: schedule,
      Sampling: `${steps} steps, guidance ${guidance}`,
      Denoiser: `${seconds(denoiserSeconds(this.result))}, in the queue ${seconds(timings.queue_seconds)}`,
      Bundle: bundle,
    };
    for (const [name, value] of Object.entries(facts)) {
      this.at(".facts").append(element("dt", { text: name }), element("dd", { text: value, "data-fact": name }));
    }
  }

  offer(file) {
    Object.assign(this.at(".download"), { href: pngOf(this.result.images[0]), download: file });
    this.at(".curl").textContent = curlFor(this.result, file);
    this.at(".made").hidden = false;
  }

  /** A row a stage, a bar where it ran: its width is its seconds of `scale`. Without `timings` the plan alone. */
  drawTimeline(timings, scale) {
    const ran = new Map(timings.map((timing) => [timing.stage, timing]));
    let began = 0;
    const rows = this.schedule.stages.map((stage, index) => {
      const row = this.timelineRow(stage, index, ran.get(index), timings.length > 0);
      const bar = row.querySelector(".bar");
      if (bar) {
        bar.style.marginLeft = `${(began / scale) * 100}%`;
        bar.style.width = `${(ran.get(index).seconds / scale) * 100}%`;
        began += ran.get(index).seconds;
      }
      return row;
    });
    this.at("tbody").replaceChildren(...rows);
    this.at(".end").textContent = scale ? seconds(scale) : "";
    this.sayShared(timings);
  }

  timelineRow(stage, index, timing, finished) {
    const row = element("tr", { title: `timesteps ${stage.high} to ${stage.low}, subgraph ${stage.subgraph}` });
    const lane = element("td");
    const steps = timing ? timing.steps : finished ? 0 : "";
    const perStep = timing ? ((timing.seconds / timing.steps) * 1000).toFixed(1) : finished ? "not run" : "";
    if (timing) lane.append(element("div", { cls: stage.share_kept === 1 ? "bar dense" : "bar" }));
    if (finished && !timing) row.className = "idle";
    row.append(
      element("th", { text: index, scope: "row" }),
      element("td", { text: kept(stage) }),
      lane,
      element("td", { text: steps }),
      element("td", { text: perStep }),
    );
    return row;
  }

  /** Steps taken together with others' images last longer than alone. */
  sayShared(timings) {
    const most = Math.max(1, ...timings.map((timing) => timing.mean_batch));
    this.at(".shared").hidden = most === 1;
    this.at(".shared").textContent = `Steps were shared with other requests: up to ${most.toFixed(1)} images a call.`;
  }
}
