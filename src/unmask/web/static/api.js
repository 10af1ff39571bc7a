// Requests to the server that delivered this page. No other host is contacted.

let token = sessionStorage.getItem("token");

export class Refused extends Error {
  constructor(status, problem) {
    super(problem?.message ?? "The server did not answer as expected.");
    this.status = status;
    this.after = problem?.retry_after ?? null;
  }
}

export function useToken(text) {
  token = text;
  sessionStorage.setItem("token", text);
}

const headers = () => (token ? { Authorization: `Bearer ${token}` } : {});

async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, { ...options, headers: headers() });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, { message: "The server cannot be reached. Check the connection and try again." });
  }
  if (!answer.ok) throw new Refused(answer.status, await answer.json().catch(() => null));
  return answer;
}

export const about = async () => (await ask("/model")).json();
export const remove = (job) => ask(`/jobs/${job}`, { method: "DELETE" });
export const report = async (job) => (await ask(`/jobs/${job}/report`)).blob();

const pictures = new Map();

/** Object URL of a picture of a job, for <img>. The picture is fetched here, because an <img> cannot send the token. */
export async function picture(job, person, moment, kind) {
  const path = `/jobs/${job}/people/${person}/${moment}/${kind}`;
  if (!pictures.has(path)) pictures.set(path, ask(path).then((answer) => answer.blob()).then(URL.createObjectURL));
  return pictures.get(path);
}

export async function forgetPictures(job) {
  for (const [path, url] of pictures) {
    if (!path.startsWith(`/jobs/${job}/`)) continue;
    pictures.delete(path);
    url.then(URL.revokeObjectURL, () => null);
  }
}

/** Upload a file and return its job; `progress` is called with a fraction. Only XMLHttpRequest reports upload progress. */
export function upload(file, progress, signal) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const form = new FormData();
    form.append("file", file, file.name);
    request.open("POST", "/detect?wait=0");
    for (const [name, value] of Object.entries(headers())) request.setRequestHeader(name, value);
    request.responseType = "json";
    request.upload.onprogress = (event) => event.lengthComputable && progress(event.loaded / event.total);
    request.onload = () =>
      request.status === 202 ? resolve(request.response) : reject(new Refused(request.status, request.response));
    request.onerror = () => reject(new Refused(0, { message: "The connection broke during the upload. Try again." }));
    request.onabort = () => reject(new DOMException("aborted", "AbortError"));
    signal.addEventListener("abort", () => request.abort());
    request.send(form);
  });
}

/** Follow a job to its end with server-sent events, or by polling if they fail; `news` is called with each state. */
export async function follow(job, news, signal) {
  let state = job;
  while (state.state === "waiting" || state.state === "running") {
    try {
      for await (const found of events(job.id, signal)) news((state = found));
    } catch (error) {
      if (error.name === "AbortError" || error.status) throw error;
      await new Promise((resolve) => setTimeout(resolve, 1000));
      news((state = await (await ask(`/jobs/${job.id}`, { signal })).json()));
    }
  }
  return state;
}

async function* events(job, signal) {
  const answer = await ask(`/jobs/${job}/events`, { signal });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    const parts = text.split("\n\n");
    text = parts.pop();
    for (const part of parts) {
      const data = part.split("\n").filter((line) => line.startsWith("data: ")).map((line) => line.slice(6)).join("\n");
      if (data) yield JSON.parse(data);
    }
  }
}
