// The Vercel AI SDK: `node ai_sdk_loop.mjs QUESTION [stream | whole]…` runs its loop with a tool and a search, once a mode.
// It prints what came out of each, as a JSON list.
import { createRequire } from "node:module";

const require = createRequire(`${process.env.PEER_HOME}/`);
const { generateText, stepCountIs, streamText, tool } = require("ai");
const { createAnthropic } = require("@ai-sdk/anthropic");
const { z } = require("zod");

// Its base URL is that of version 1 of the API.
const anthropic = createAnthropic({ baseURL: `${process.env.ANTHROPIC_BASE_URL}/v1` });
const [question, ...modes] = process.argv.slice(2);
const called = [];
const options = {
  model: anthropic("claude-sonnet-4-6"),
  prompt: question,
  maxRetries: 0,
  stopWhen: stepCountIs(10),
  tools: {
    web_search: anthropic.tools.webSearch_20250305({}),
    weather: tool({
      description: "Look up the weather.",
      inputSchema: z.object({ city: z.string() }),
      execute: async ({ city }) => {
        called.push(city);
        return `sunny in ${city}`;
      },
    }),
  },
};

async function run(stream) {
  called.length = 0;
  let result;
  let pieces = 0;
  if (stream) {
    result = streamText(options);
    for await (const part of result.fullStream) {
      if (part.type === "error") throw part.error;
      pieces += part.type === "text-delta";
    }
  } else {
    result = await generateText(options);
  }
  const steps = await result.steps;
  return {
    text: await result.text,
    pieces,
    called: [...called],
    stops: steps.map((step) => step.finishReason),
    cited: steps.flatMap((step) => step.sources.map((source) => source.url)),
    output_tokens: (await result.totalUsage).outputTokens,
  };
}

const done = [];
for (const mode of modes) done.push(await run(mode === "stream"));
console.log(JSON.stringify(done));
