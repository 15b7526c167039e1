//! Templates in the manner of known families, with the prompts that Python's Jinja makes of them.

use super::*;
use rbee_wire::openai::{Role, ToolCall};

/// In the manner of Llama 3: a date, functions in the first user's message, calls as JSON.
const LLAMA: &str = r#"{{- bos_token }}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "1 Jan 2024" %}
    {%- endif %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system = "" %}
{%- endif %}
{{- "[system]\n" }}
{%- if tools is not none %}
    {{- "Environment: ipython\n" }}
{%- endif %}
{{- "Today Date: " + date_string + "\n\n" }}
{{- system + "[end]" }}
{%- for message in messages %}
    {%- if not (message.role == 'tool' or 'tool_calls' in message) %}
        {{- '[' + message['role'] + ']\n' }}
        {%- if tools is not none and loop.first %}
            {%- for t in tools %}
                {{- t | tojson(indent=4) }}
                {{- "\n\n" }}
            {%- endfor %}
        {%- endif %}
        {{- message['content'] | trim + '[end]' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls|length == 1 %}
            {{- raise_exception("one call at a time") }}
        {%- endif %}
        {%- set call = message.tool_calls[0].function %}
        {{- '[assistant]\n{"name": "' + call.name + '", "parameters": ' }}
        {{- call.arguments | tojson }}
        {{- "}[end]" }}
    {%- else %}
        {{- "[ipython]\n" }}
        {%- if message.content is mapping or message.content is iterable %}
            {{- message.content | tojson }}
        {%- else %}
            {{- message.content }}
        {%- endif %}
        {{- "[end]" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '[assistant]\n' }}
{%- endif %}
"#;

/// In the manner of Qwen: functions in the system's message, answers of functions grouped, thoughts of earlier turns dropped.
const QWEN: &str = r#"{%- if tools %}
    {{- '[system]\n' }}
    {%- if messages[0].role == 'system' %}
        {{- messages[0].content + '\n\n' }}
    {%- endif %}
    {{- '# Tools\n<tools>' }}
    {%- for tool in tools %}
        {{- "\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\n</tools>[end]\n" }}
{%- elif messages[0].role == 'system' %}
    {{- '[system]\n' + messages[0].content + '[end]\n' }}
{%- endif %}
{%- set ns = namespace(last=messages|length - 1, searching=true) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.searching and message.role == "user" and not(message.content.startswith('<r>') and message.content.endswith('</r>')) %}
        {%- set ns.searching = false %}
        {%- set ns.last = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '[' + message.role + ']\n' + message.content + '[end]' + '\n' }}
    {%- elif message.role == "assistant" %}
        {%- set content = message.content %}
        {%- set thought = '' %}
        {%- if message.reasoning_content is defined and message.reasoning_content is not none %}
            {%- set thought = message.reasoning_content %}
        {%- elif '</think>' in message.content %}
            {%- set content = message.content.split('</think>')[-1].lstrip('\n') %}
            {%- set thought = message.content.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last and (loop.last or (not loop.last and thought)) %}
            {{- '[assistant]\n<think>\n' + thought.strip('\n') + '\n</think>\n\n' + content.lstrip('\n') }}
        {%- else %}
            {{- '[assistant]\n' + content }}
        {%- endif %}
        {%- for call in message.tool_calls or [] %}
            {%- if (loop.first and content) or (not loop.first) %}{{- '\n' }}{%- endif %}
            {%- if call.function %}{%- set call = call.function %}{%- endif %}
            {{- '<tool_call>\n{"name": "' }}{{- call.name }}{{- '", "arguments": ' }}
            {%- if call.arguments is string %}{{- call.arguments }}{%- else %}{{- call.arguments | tojson }}{%- endif %}
            {{- '}\n</tool_call>' }}
        {%- endfor %}
        {{- '[end]\n' }}
    {%- elif message.role == "tool" %}
        {%- if loop.first or (messages[loop.index0 - 1].role != "tool") %}{{- '[user]' }}{%- endif %}
        {{- '\n<r>\n' ~ message.content ~ '\n</r>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}{{- '[end]\n' }}{%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '[assistant]\n' }}{%- endif %}
"#;

/// In the manner of Mistral: turns that must alternate, functions before the last user's message, ids of nine characters.
const MISTRAL: &str = r#"{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- if not tools is defined %}{%- set tools = none %}{%- endif %}
{%- set users = loop_messages | selectattr("role", "equalto", "user") | list %}
{%- set ns = namespace(index=0) %}
{%- for message in loop_messages %}
    {%- if not (message.role == "tool" or message.tool_calls is defined and message.tool_calls is not none) %}
        {%- if (message["role"] == "user") != (ns.index % 2 == 0) %}
            {{- raise_exception("conversation roles must alternate") }}
        {%- endif %}
        {%- set ns.index = ns.index + 1 %}
    {%- endif %}
{%- endfor %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if tools is not none and (message == users[-1]) %}
            {{- "[TOOLS] [" }}
            {%- for tool in tools %}
                {%- set tool = tool.function %}
                {{- '{"type": "function", "function": {' }}
                {%- for key, val in tool.items() if key != "return" %}
                    {%- if val is string %}
                        {{- '"' + key + '": "' + val + '"' }}
                    {%- else %}
                        {{- '"' + key + '": ' + val|tojson }}
                    {%- endif %}
                    {%- if not loop.last %}{{- ", " }}{%- endif %}
                {%- endfor %}
                {{- "}}" }}
                {%- if not loop.last %}{{- ", " }}{%- else %}{{- "]" }}{%- endif %}
            {%- endfor %}
            {{- "[/TOOLS]" }}
        {%- endif %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST] " + system_message + "\n\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- elif message.tool_calls is defined and message.tool_calls is not none %}
        {{- "[CALLS] [" }}
        {%- for call in message.tool_calls %}
            {%- set out = call.function|tojson %}
            {{- out[:-1] }}
            {%- if not call.id is defined or call.id|length != 9 %}
                {{- raise_exception("ids have nine characters") }}
            {%- endif %}
            {{- ', "id": "' + call.id + '"}' }}
            {%- if not loop.last %}{{- ", " }}{%- else %}{{- "]" + eos_token }}{%- endif %}
        {%- endfor %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"]|trim + eos_token }}
    {%- elif message["role"] == "tool" %}
        {{- '[RESULTS] {"content": ' + message.content|string + "}[/RESULTS]" }}
    {%- endif %}
{%- endfor %}
"#;

/// In the manner of Gemma: the system's message in front of the first turn, another name for the assistant, a macro.
const GEMMA: &str = r"{{ bos_token }}
{%- macro turn(role, content, prefix='') -%}
    {{ '<turn>' + role + '\n' + prefix + content | trim + '</turn>\n' }}
{%- endmacro -%}
{%- if messages[0]['role'] == 'system' -%}
    {%- set first_user_prefix = messages[0]['content'] + '

' -%}
    {%- set loop_messages = messages[1:] -%}
{%- else -%}
    {%- set first_user_prefix = '' -%}
    {%- set loop_messages = messages -%}
{%- endif -%}
{%- for message in loop_messages -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception('Conversation roles must alternate') }}
    {%- endif -%}
    {%- set role = 'model' if message['role'] == 'assistant' else message['role'] -%}
    {{ turn(role, message['content'], prefix=(first_user_prefix if loop.first else '')) }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{ '<turn>model
' }}
{%- endif -%}
";

const LLAMA_PROMPT: &str = r#"<|endoftext|>[system]
Environment: ipython
Today Date: 02 Jan 2026

be kind[end][user]
{
    "type": "function",
    "function": {
        "name": "w",
        "description": "Tells <it> & 'more'",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {
                    "type": "string"
                }
            },
            "required": [
                "city"
            ]
        }
    }
}

Hi[end][assistant]
{"name": "w", "parameters": {"city": "Oslo", "days": [1, 2.5, null]}}[end][ipython]
"7 °C"[end][assistant]
<think>
cold
</think>

It is cold.[end][user]
Thanks[end][assistant]
"#;

const QWEN_PROMPT: &str = r#"[system]
be kind

# Tools
<tools>
{"type": "function", "function": {"name": "w", "description": "Tells <it> & 'more'", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}
</tools>[end]
[user]
 Hi
[end]
[assistant]
<tool_call>
{"name": "w", "arguments": {"city": "Oslo", "days": [1, 2.5, null]}}
</tool_call>[end]
[user]
<r>
7 °C
</r>[end]
[assistant]
It is cold.[end]
[user]
Thanks[end]
[assistant]
"#;

const MISTRAL_PROMPT: &str = r#"<|endoftext|>[INST]  Hi
[/INST][CALLS] [{"name": "w", "arguments": {"city": "Oslo", "days": [1, 2.5, null]}, "id": "abcdefghi"}]<|endoftext|>[RESULTS] {"content": 7 °C}[/RESULTS] <think>
cold
</think>

It is cold.<|endoftext|>[TOOLS] [{"type": "function", "function": {"name": "w", "description": "Tells <it> & 'more'", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}][/TOOLS][INST] be kind

Thanks[/INST]"#;

const GEMMA_PROMPT: &str = r#"<|endoftext|><turn>user
be kind

Hi</turn>
<turn>model
<think>
cold
</think>

It is cold.</turn>
<turn>user
Thanks</turn>
<turn>model
"#;

/// A conversation in which a function is called, and what the function is.
fn weather() -> (Vec<ChatMessage>, Vec<Tool>) {
    let definition = serde_json::json!({"type": "function", "function": {"name": "w", "description": "Tells <it> & 'more'",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}});
    let tool = Tool { name: "w".into(), parameters: serde_json::Value::Null, definition };
    let call = ToolCall::new("abcdefghi".into(), "w".into(), r#"{"city": "Oslo", "days": [1, 2.5, null]}"#.into());
    let messages = vec![
        ChatMessage::new(Role::System, "be kind"),
        ChatMessage::user(" Hi\n"),
        ChatMessage { tool_calls: vec![call], ..ChatMessage::new(Role::Assistant, "") },
        ChatMessage { tool_call_id: Some("abcdefghi".into()), ..ChatMessage::new(Role::Tool, "7 °C") },
        ChatMessage::new(Role::Assistant, "<think>\ncold\n</think>\n\nIt is cold."),
        ChatMessage::user("Thanks"),
    ];
    (messages, vec![tool])
}

#[test]
fn templates_in_the_manner_of_known_families_give_their_prompts() {
    let tokenizer = Tokenizer::from_header(&tinybee_header()).unwrap();
    let now = "2026-01-02T03:04:05[UTC]".parse().unwrap();
    let (with_calls, tools) = weather();
    let plain: Vec<ChatMessage> =
        with_calls.iter().filter(|m| m.role != Role::Tool && m.tool_calls.is_empty()).cloned().collect();
    for (source, messages, tools, wanted) in [
        (LLAMA, &with_calls, &tools, LLAMA_PROMPT),
        (QWEN, &with_calls, &tools, QWEN_PROMPT),
        (MISTRAL, &with_calls, &tools, MISTRAL_PROMPT),
        (GEMMA, &plain, &Vec::new(), GEMMA_PROMPT),
    ] {
        let text = ChatTemplate::new(source).unwrap().render(messages, tools, &tokenizer, &now).unwrap();
        assert_eq!(text, wanted);
    }
    for source in [MISTRAL, GEMMA] {
        let twice = [ChatMessage::user("a"), ChatMessage::user("b")];
        let failure = ChatTemplate::new(source).unwrap().render(&twice, &[], &tokenizer, &now).unwrap_err();
        assert!(failure.to_string().contains("must alternate"), "{failure}");
    }
}
