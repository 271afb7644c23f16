"use strict";
// The service's API: what it refuses, in its own words, and the events of a stream.

class Refusal extends Error {
  constructor(message, { status = 0, field = null, code = "", retryAfter = null } = {}) {
    super(message);
    Object.assign(this, { status, field, code, retryAfter });
  }
}

/** An answer's error; a proxy's need not have our shape. */
async function refusalOf(response) {
  const text = await response.text();
  const retryAfter = Number(response.headers.get("Retry-After")) || null;
  let error = null;
  try {
    error = JSON.parse(text).error;
  } catch {
    error = text.slice(0, 200);
  }
  const known = error?.message ? error : { message: error || response.statusText || "no reason was given" };
  const { message, param: field = null, code = "" } = known;
  return new Refusal(`${response.status}: ${message}`, { status: response.status, field, code, retryAfter });
}

let apiKey = ""; // of this tab, until it is closed or loaded anew

/** fetch, its network failures in words; an abort stays what it is. */
async function ask(path, options = {}) {
  const headers = apiKey ? { ...options.headers, Authorization: `Bearer ${apiKey}` } : options.headers;
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal("The service cannot be reached.", { code: "unreachable" });
  }
  if (!response.ok) throw await refusalOf(response);
  return response;
}

async function* chunksOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    let read;
    try {
      read = await reader.read();
    } catch (error) {
      if (error.name === "AbortError") throw error;
      return; // a connection that broke ends a stream like one that closed
    }
    if (read.done) return;
    yield read.value;
  }
}

/** Server-sent events as {name, data}; comments, which keep the connection alive, are passed over. */
async function* eventsOf(response) {
  let text = "";
  for await (const chunk of chunksOf(response)) {
    const blocks = (text + chunk).split("\n\n");
    text = blocks.pop();
    for (const block of blocks) {
      const lines = block.split("\n");
      const value = (key) => lines.find((line) => line.startsWith(`${key}: `))?.slice(key.length + 2);
      if (value("data")) yield { name: value("event"), data: JSON.parse(value("data")) };
    }
  }
}

/** One image; `hear` is told every event. The result, or a Refusal. */
async function generate(body, signal, hear) {
  const options = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal };
  const response = await ask("generate/stream", options);
  for await (const { name, data } of eventsOf(response)) {
    if (name === "result") return data;
    if (name === "error") throw new Refusal(data.error.message, { field: data.error.param, code: data.error.code });
    hear(name, data);
  }
  throw new Refusal("The connection was lost before the image was done. Generate again.", { code: "lost" });
}

const pause = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

/** /v1/info, asked again until it comes; `tell` hears why it does not. Without a key that is needed: a Refusal. */
async function infoWhenReady(tell) {
  for (;;) {
    try {
      return await (await ask("v1/info")).json();
    } catch (error) {
      if (!(error instanceof Refusal) || error.status === 401) throw error;
      tell(error);
      await pause(Math.min(error.retryAfter ?? 2, 10));
    }
  }
}

/** The command that makes an image again. */
function curlFor(result, file) {
  const { label, prompt, negative_prompt, size, schedule, steps, guidance, seed } = result;
  const subject = prompt === null ? { label } : { prompt, negative_prompt: negative_prompt ?? undefined };
  const body = JSON.stringify({ ...subject, size, schedule, steps, guidance, seed });
  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const key = apiKey ? ` -H "Authorization: Bearer $DIFFES_API_KEY"` : "";
  return `curl ${quoted(new URL("generate", location.href).href)}${key} -d ${quoted(body)} -o ${quoted(file)}`;
}
