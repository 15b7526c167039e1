"""Talks to the gateway with OpenAI's own client and prints what came back as JSON."""
import json
import sys

import openai

client = openai.OpenAI(base_url=sys.argv[1] + "/v1", api_key="none", max_retries=0)
ask = {"model": "tinybee", "messages": [{"role": "user", "content": "write a short story"}], "temperature": 0, "max_tokens": 20}


def failure(**changes):
    try:
        client.chat.completions.create(**{**ask, **changes})
    except openai.APIStatusError as error:
        return error
    raise SystemExit(f"{changes} was not refused")


def joined(choice):
    return "".join(token.token for token in choice.logprobs.content) == choice.message.content


schema = {
    "type": "object", "properties": {"kind": {"enum": ["bee", "ant"]}, "legs": {"type": "integer", "maximum": 8}},
    "required": ["kind", "legs"], "additionalProperties": False,
}
insect = {"type": "json_schema", "json_schema": {"name": "insect", "strict": True, "schema": schema}}
function = {"type": "function", "function": {"name": "weather", "parameters": schema}}
unknown, refused, tools = failure(model="no-such"), failure(max_tokens=-1), failure(tools=[function])
several = client.chat.completions.create(**{**ask, "temperature": 1}, n=2, seed=7, logprobs=True, top_logprobs=3)
completion = client.completions.create(model="tinybee", prompt="Once", max_tokens=5, logprobs=2).choices[0]
formed = client.chat.completions.create(**{**ask, "max_tokens": 200}, response_format=insect).choices[0].message.content
vectors = client.embeddings.create(model="tinybee", input=["a bee", "an ant"])
print(json.dumps({
    "models": [m.id for m in client.models.list()],
    "whole": client.chat.completions.create(**ask).choices[0].message.content,
    "streamed": "".join(c.choices[0].delta.content or "" for c in client.chat.completions.create(**ask, stream=True)),
    "unknown": [unknown.status_code, unknown.code],
    "refused": [refused.status_code, refused.param],
    "tools": [tools.status_code, tools.param],
    "several": [c.index for c in several.choices if joined(c) and len(c.logprobs.content[0].top_logprobs) == 3],
    "completion": "".join(completion.logprobs.tokens) == completion.text,
    "formed": sorted(json.loads(formed)),
    "vectors": [round(sum(x * x for x in v.embedding), 3) for v in vectors.data],
}))
