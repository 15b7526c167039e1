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


unknown, refused = failure(model="no-such"), failure(max_tokens=-1)
print(json.dumps({
    "models": [m.id for m in client.models.list()],
    "whole": client.chat.completions.create(**ask).choices[0].message.content,
    "streamed": "".join(c.choices[0].delta.content or "" for c in client.chat.completions.create(**ask, stream=True)),
    "unknown": [unknown.status_code, unknown.code],
    "refused": [refused.status_code, refused.param],
}))
