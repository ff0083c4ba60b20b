// The TypeScript SDK against an endpoint: `node node_sdk.mjs TASK…` prints what came out of each, as one JSON object.
// A task is one of `tasks` below, with `:` and its argument if it takes one.
import { createRequire } from "node:module";

const require = createRequire(`${process.env.PEER_HOME}/`);
const Anthropic = require("@anthropic-ai/sdk").default;
const { betaZodTool } = require("@anthropic-ai/sdk/helpers/beta/zod");
const { z } = require("zod");

const client = new Anthropic({ maxRetries: 0 });
const MODEL = "claude-sonnet-4-6";
const ask = { model: MODEL, max_tokens: 1000, messages: [{ role: "user", content: "What is it about?" }] };
const called = [];
const weather = betaZodTool({
  name: "weather",
  description: "Look up the weather.",
  inputSchema: z.object({ city: z.string() }),
  run: ({ city }) => {
    called.push(city);
    return `sunny in ${city}`;
  },
});

async function runner(question, stream) {
  called.length = 0;
  const tools = [weather, { type: "web_search_20250305", name: "web_search" }];
  const turns = [];
  const messages = [{ role: "user", content: question }];
  for await (const turn of client.beta.messages.toolRunner({ ...ask, messages, tools, stream, max_iterations: 10 })) {
    turns.push(stream ? await turn.finalMessage() : turn);
  }
  const texts = turns.flatMap((turn) => turn.content.filter((block) => block.type === "text"));
  return {
    stops: turns.map((turn) => turn.stop_reason),
    text: turns.at(-1).content.map((block) => block.text ?? "").join(""),
    cited: texts.flatMap((block) => (block.citations ?? []).map((citation) => citation.url)),
    called: [...called],
  };
}

const tasks = {
  tool_runner: (question) => runner(question, false),
  streamed_runner: (question) => runner(question, true),

  async streaming() {
    const kinds = [];
    let text = "";
    const stream = client.messages.stream(ask);
    stream.on("streamEvent", (event) => kinds.push(event.type));
    stream.on("text", (piece) => (text += piece));
    const message = await stream.finalMessage();
    return { kinds, text, stop: message.stop_reason, content: message.content, request_id: stream.request_id };
  },

  async errors(count) {
    const found = [];
    for (let at = 0; at < Number(count); at++) {
      await client.messages.create(ask).catch((error) =>
        found.push({ class: error.constructor.name, status: error.status ?? null, type: error.type ?? null }),
      );
    }
    return found;
  },

  async rest() {
    const models = [];
    for await (const model of client.models.list({ limit: 2 })) models.push(model.id);
    const counted = await client.messages.countTokens({ model: MODEL, messages: ask.messages });
    const batch = await client.messages.batches.create({ requests: [{ custom_id: "q", params: ask }] });
    await client.messages.batches.retrieve(batch.id);
    const results = [];
    for await (const line of await client.messages.batches.results(batch.id)) results.push(line.result.type);
    const file = await client.files.upload({ file: new File(["Bees have one queen."], "facts.txt", { type: "text/plain" }) });
    const gone = await client.files.delete(file.id);
    return {
      models,
      one: (await client.models.retrieve(MODEL)).id,
      tokens: counted.input_tokens,
      results,
      file: file.filename,
      deleted: gone.id === file.id,
    };
  },
};

const done = {};
for (const task of process.argv.slice(2)) {
  const [name, argument] = task.split(":", 2);
  done[name] = await tasks[name](argument);
}
console.log(JSON.stringify(done));
