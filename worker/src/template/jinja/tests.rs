//! Tests of the small Jinja: the language as Python has it.

mod hostile;

use super::{Failure, Template, Value};

fn values() -> Vec<(&'static str, Value)> {
    let message =
        |role: &str, content: &str| Value::dict(vec![("role".into(), role.into()), ("content".into(), content.into())]);
    vec![
        ("messages", Value::list(vec![message("system", "be kind"), message("user", " hello ")])),
        ("tools", Value::None),
        ("s", "äbc def".into()),
        ("n", Value::list((0..5).map(Value::Int).collect())),
        ("d", Value::dict(vec![("b".into(), Value::Int(1)), ("A".into(), Value::Float(2.0))])),
    ]
}

fn render(source: &str) -> Result<String, Failure> {
    Template::new(source)?.render(values(), &|format| Ok(format!("<{format}>")))
}

/// Sources and what Python makes of them.
fn check(cases: &[(&str, &str)]) {
    for (source, wanted) in cases {
        assert_eq!(render(source).as_deref(), Ok(*wanted), "{source}");
    }
}

#[test]
fn expressions_are_worth_what_python_makes_of_them() {
    check(&[
        (
            "{{ 1 + 2 * 3 - 4 // 3 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ -7 // 2 }} {{ 7 / 2 }} {{ 2 ** 10 }}",
            "6 1 2 -4 3.5 1024",
        ),
        ("{{ 'a' ~ 1 ~ none ~ true }} {{ 'a' 'b' }} {{ 'ab' * 2 + 'c' }}", "a1NoneTrue ab ababc"),
        (
            "{{ 1 < 2 <= 2 }} {{ 'a' in 'cat' and 'x' not in ['y'] }} {{ 1 == 1.0 }} {{ [1] == [1] }}",
            "True True True True",
        ),
        (
            "{{ missing or 'x' }} {{ 'a' and 0 }} {{ not '' }} {{ 'y' if missing else 'n' }}{{ 'y' if false }}",
            "x 0 True n",
        ),
        (
            "{{ -n[1] }} {{ n[-1] }} {{ n[9] is defined }} {{ n[1:3] }} {{ n[::-1] }} {{ s[1:-4] }} {{ s[0] }}",
            "-1 4 False [1, 2] [4, 3, 2, 1, 0] bc ä",
        ),
        ("{{ n[5:1:-2] }} {{ n[-100:100] }} {{ n[:-2] }} {{ n[3:] }}", "[4, 2] [0, 1, 2, 3, 4] [0, 1, 2] [3, 4]"),
        ("{{ {'a': [1, 2.5, none, true, \"it's\", 'q\\n']}['a'] }}", "[1, 2.5, None, True, \"it's\", 'q\\n']"),
        ("{{ d.b }}{{ d['A'] }}{{ d.missing is none }}{{ messages[1].content | trim | upper }}", "12.0FalseHELLO"),
        ("{{ -1 | abs }} {{ 'a' + 'b' | upper }} {{ 1 + 1 is odd }}", "1 aB 2"),
        ("{{ 1 is not none and 2 is divisibleby(2) and 3 is eq 3 and 'x' is in ['x'] }}", "True"),
        (
            "{{ tools is iterable }} {{ tools is not none }} {{ missing is defined }} {{ strftime_now is defined }}",
            "False False False True",
        ),
        ("{{ strftime_now('%Y') }} {{ range(2, 8, 3) }} {{ range(3)[-1] }} {{ dict(a=1) }}", "<%Y> [2, 5] 2 {'a': 1}"),
        ("{{ (1, 2)[1] }} {{ ()|length }} {{ (5) }} {{ [1, 2,] | length }}", "2 0 5 2"),
    ]);
}

#[test]
fn statements_do_what_jinja_says() {
    check(&[
        (
            "{% for m in messages %}{{ loop.index }}/{{ loop.length }}{{ m.role }}{{ ',' if not loop.last }}{% endfor %}",
            "1/2system,2/2user",
        ),
        ("{% for i in n if i is odd %}{{ loop.index0 }}:{{ i }} {% else %}none{% endfor %}", "0:1 1:3 "),
        ("{% for i in [] %}x{% else %}none{% endfor %}{% for i in tools %}x{% endfor %}", "none"),
        (
            "{% for i in n %}{% if i == 1 %}{% continue %}{% elif i == 3 %}{% break %}{% else %}{{ i }}{% endif %}{% endfor %}",
            "02",
        ),
        ("{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}{% for k in d %}{{ k }}{% endfor %}", "b=1;A=2.0;bA"),
        ("{% set x = 1 %}{% for i in n %}{% set x = x + 1 %}{{ x }}{% endfor %}{{ x }}", "222221"),
        ("{% set ns = namespace(x=1) %}{% for i in n %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}", "11"),
        (
            "{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set c %}<{{ a }}>{% endset %}{{ c }}{% set d | upper %}x{% endset %}{{ d }}",
            "12<1>X",
        ),
        (
            "{% macro f(a, b='y') %}{{ a }}{{ b }}{{ s }}{{ hidden }}{% endmacro %}{% for hidden in n[:1] %}{{ f(1) }}|{{ f(b=2, a=3) }}{% endfor %}",
            "1yäbc def|32äbc def",
        ),
        ("{% macro f(x) %}{% if x %}{{ x }}{{ f(x - 1) }}{% endif %}{% endmacro %}{{ f(3) }}", "321"),
        ("{% with x = 1, y = 2 %}{{ x + y }}{% endwith %}{{ x }}{% filter upper %}a{% endfilter %}", "3A"),
        ("a {%- generation -%} b {% endgeneration %}{% do n %}{% raw %}{{ x }}{% endraw %}", "ab {{ x }}"),
        (
            "{% for i in n %}{{ loop.previtem }}{{ loop.nextitem }}{{ loop.cycle('a', 'b') }}{% endfor %}",
            "1a02b13a24b3a",
        ),
        ("{% for x in 'aab' %}{{ loop.changed(x) }}{% endfor %}", "TrueFalseTrue"),
    ]);
}

#[test]
fn filters_and_methods_give_what_python_gives() {
    check(&[
        ("{{ ' x '.strip() }}|{{ 'xxay'.lstrip('x') }}|{{ 'a\\n'.rstrip() }}|{{ '__a_'.strip('_') }}", "x|ay|a|a"),
        (
            "{{ 'a,b,c'.split(',') }} {{ 'a,b,c'.split(',', 1) }} {{ ' a  b c '.split() }} {{ ' a  b c '.split(none, 1) }}",
            "['a', 'b', 'c'] ['a', 'b,c'] ['a', 'b', 'c'] ['a', 'b c ']",
        ),
        (
            "{{ 'aXbX'.replace('X', '--') }} {{ 'aXbX' | replace('X', '', 1) }} {{ 'ab'.replace('', '.') }}",
            "a--b-- abX .a.b.",
        ),
        (
            "{{ 'abc'.startswith('ab') }} {{ 'abc'.endswith(('x', 'bc')) }} {{ 'abc'.find('c') }} {{ 'aaa'.count('a') }}",
            "True True 2 3",
        ),
        (
            "{{ 'hello wORLD'.title() }} {{ 'hELLO' | capitalize }} {{ 'ß'.upper() }} {{ '7'.isdigit() }}",
            "Hello World Hello SS True",
        ),
        (
            "{{ ', '.join(['a', 'b']) }} {{ [1, 'x'] | join('-') }} {{ messages | join(',', attribute='role') }}",
            "a, b 1-x system,user",
        ),
        ("{{ '{} {0} {x} {{}}'.format('a', x='b') }}", "a a b {}"),
        (
            "{{ d.get('b') }} {{ d.get('z') }} {{ d.get('z', 5) }} {{ d.keys() | list }} {{ d.values() | list }}",
            "1 None 5 ['b', 'A'] [1, 2.0]",
        ),
        (
            "{{ d | dictsort }} {{ d | items | first }} {{ d | tojson }}",
            "[['A', 2.0], ['b', 1]] ['b', 1] {\"b\": 1, \"A\": 2.0}",
        ),
        ("{{ {'a': [1, {}], 'b': []} | tojson(indent=2) }}", "{\n  \"a\": [\n    1,\n    {}\n  ],\n  \"b\": []\n}"),
        (
            "{{ \"<a> & 'b' \\\"é\\\" \\x01\\n\\\\\" | tojson(ensure_ascii=False) }}",
            "\"<a> & 'b' \\\"é\\\" \\u0001\\n\\\\\"",
        ),
        ("{{ messages | selectattr('role', 'equalto', 'user') | map(attribute='content') | list }}", "[' hello ']"),
        ("{{ messages | rejectattr('role', 'in', ['user']) | map(attribute='role') | first }}", "system"),
        (
            "{{ n | select('odd') | list }} {{ n | reject('>', 1) | list }} {{ ['a', 'b'] | map('upper') | join }}",
            "[1, 3] [0, 1] AB",
        ),
        (
            "{{ ['b', 'A', 'c'] | sort }} {{ n | sort(reverse=true) }} {{ ['a', 'A', 'b'] | unique | list }}",
            "['A', 'b', 'c'] [4, 3, 2, 1, 0] ['a', 'b']",
        ),
        (
            "{{ n | max }} {{ ['b', 'a'] | min }} {{ n | last }} {{ 'abc' | reverse }} {{ 'äb' | length }}",
            "4 a 4 cba 2",
        ),
        (
            "{{ missing | default('x') }} {{ '' | default('x') }} {{ '' | default('x', true) }} {{ none | d('x') }}",
            "x  x None",
        ),
        (
            "{{ '3.7' | int }} {{ 'x' | int }} {{ 'x' | int(9) }} {{ '2' | float }} {{ 1 | string + 'a' }}",
            "3 0 9 2.0 1a",
        ),
        ("{{ 'a\\n\\nb' | indent(2) }}|{{ 'a\\nb' | indent(first=true, width=1) }}", "a\n\n  b| a\n b"),
    ]);
}

#[test]
fn failures_name_their_line() {
    for (source, line, part) in [
        ("a\n{{ raise_exception('roles must alternate') }}", 2, "roles must alternate"),
        ("\n\n{{ x.y }}", 3, "undefined"),
        ("\n{% if true %}\n{{ f() }}{% endif %}", 3, "f is not known"),
        ("\n{{ 1 | nothing }}", 2, "the filter nothing"),
        ("\n{{ 1 is nothing }}", 2, "the test nothing"),
        ("\n{{ ''.__class__.__mro__ }}", 2, "__mro__"),
        ("\n{{ [].append(1) }}", 2, "append"),
        ("\n{{ 'a' + 1 }}", 2, "cannot be calculated"),
        ("\n{{ 1 / 0 }}", 2, "zero"),
        ("\n{{ range(1, 2, 0) }}", 2, "step 0"),
        ("\n{% set x.y = 1 %}", 2, "no namespace"),
        ("\n{% include 'x' %}", 2, "include"),
        ("\n{% break %}", 2, "break"),
        ("\n{% for %}", 2, "a name"),
        ("\n{% if x %}", 2, "endif"),
        ("\n{{ 1 + }}", 2, "a value"),
        ("\n{{ f(a=1, 2) }}", 2, "named argument"),
    ] {
        let failure = render(source).unwrap_err();
        assert!(failure.line == line && failure.message.contains(part), "{source}: {failure:?}");
    }
}
