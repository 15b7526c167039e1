//! What hostile templates try: nesting, work and memory without end. Each one ends with a failure, within its budget.

use super::super::{Template, Value};
use super::{check, render};

#[test]
fn long_chains_do_not_nest() {
    check(&[("{{ x }}", "")]);
    for (what, source, wanted) in [
        ("sums", format!("{{{{ 1{} }}}}", "+1".repeat(20_000)), "20001"),
        ("texts", format!("{{{{ (''{}) | length }}}}", "~'a'".repeat(2_000)), "2000"),
        ("filters", format!("{{{{ 1{} }}}}", "|string".repeat(10_000)), "1"),
        ("ors", format!("{{{{ 0{} }}}}", " or 0".repeat(10_000)), "0"),
        ("comparisons", format!("{{{{ 1{} }}}}", "==1".repeat(10_000)), "True"),
        ("branches", format!("{{% if 0 %}}{}{{% endif %}}", "{% elif 0 %}".repeat(10_000)), ""),
        ("items", format!("{{{{ n{} }}}}", "[:]".repeat(1_000)), "[0, 1, 2, 3, 4]"),
    ] {
        assert_eq!(render(&source).as_deref(), Ok(wanted), "{what}");
    }
}

#[test]
fn sources_that_nest_without_end_are_refused_when_they_are_read() {
    let nests = |open: &str, inner: &str, close: &str| {
        let source = format!("{}{inner}{}", open.repeat(10_000), close.repeat(10_000));
        format!("{{{{ {source} }}}}")
    };
    for source in [
        nests("-", "1", ""),
        nests("not ", "1", ""),
        nests("(", "1", ")"),
        nests("[", "", "]"),
        nests("{1:", "1", "}"),
        nests("f(", "1", ")"),
        nests("a[", "1", "]"),
        nests("1 if 1 else ", "1", ""),
        nests("1|string(", "1", ")"),
        format!("{}{}", "{% if 1 %}".repeat(5_000), "{% endif %}".repeat(5_000)),
        format!("{}{}", "{% for a in n %}".repeat(4_000), "{% endfor %}".repeat(4_000)),
        format!("{{% set {}a{} = 1 %}}", "(".repeat(10_000), ")".repeat(10_000)),
    ] {
        let failure = Template::new(&source).err().expect("a refusal");
        assert!(failure.message.contains("nested"), "{}: {failure:?}", &source[..40]);
    }
    for source in [format!("{{{{ f({}) }}}}", "1,".repeat(300)), format!("{{% macro f({}) %}}", "a,".repeat(300))] {
        let failure = Template::new(&source).err().expect("a refusal");
        assert!(failure.message.contains("255"), "{failure:?}");
    }
    let failure = Template::new(&"x".repeat(200 << 10)).err().expect("a refusal");
    assert!(failure.message.contains("204800 bytes"), "{failure:?}");
}

/// Runs on a stack of half of what a thread of the worker has.
fn on_a_small_stack(run: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(1 << 20);
    thread.spawn(run).unwrap().join().unwrap();
}

#[test]
fn what_is_allowed_to_nest_fits_a_small_stack() {
    on_a_small_stack(|| {
        // All kinds of expressions within each other, and macros within them.
        let mut deep = "f(x)".to_owned();
        for _ in 0..5 {
            deep = format!("('' ~ (1 if not (-([{deep}][0] | string | length) + 1 == 1 and 1) or 0 else 2))");
        }
        for _ in 0..3 {
            deep = format!("[{{'a': {deep}}}['a']] | map('string') | join");
        }
        let source = format!(
            "{{% macro f(x) %}}{{% for a in n[:1] %}}{{% if 1 %}}{{{{ {deep} }}}}{{% endif %}}{{% endfor %}}{{% endmacro %}}{{{{ f(1) }}}}"
        );
        let failure = render(&source).unwrap_err();
        assert!(failure.message.contains("nested too deep"), "{failure:?}");
        // Just below the limit of the source.
        let source = format!("{{{{ {}1{} }}}}", "[".repeat(60), "]".repeat(60));
        assert_eq!(render(&source).unwrap().len(), 121);
    });
}

#[test]
fn values_that_nest_or_contain_themselves_do_no_harm() {
    on_a_small_stack(|| {
        let nest = |value: &str, then: &str| {
            format!(
                "{{% set ns = namespace(s=[]) %}}{{% for a in range(20000) %}}{{% set ns.s = {value} %}}{{% endfor %}}{then}"
            )
        };
        for value in [
            "[ns.s]",
            "{'a': ns.s}",
            "(1, ns.s)",
            "dict(a=ns.s)",
            "[ns.s] + [1]",
            "[[ns.s]][0:]",
            "{'a': ns.s}|items|list",
        ] {
            for then in ["", "{{ ns.s }}", "{{ ns.s | tojson }}", "{{ ns.s == ns.s }}"] {
                let failure = render(&nest(value, then)).unwrap_err();
                assert!(failure.message.contains("nested deeper"), "{value} {then}: {failure:?}");
            }
        }
        check(&[
            (
                "{% set ns = namespace() %}{% set ns.s = ns %}{{ ns }}{{ ns.s.s == ns }}{{ [ns] }}",
                "<a namespace>True[<a namespace>]",
            ),
            (
                "{% set a = namespace() %}{% set b = namespace(a=a) %}{% set a.b = b %}{{ a == b }}{{ a.b.a.b == b }}",
                "FalseTrue",
            ),
        ]);
        let failure = render("{% set ns = namespace() %}{% set ns.s = ns %}{{ ns | tojson }}").unwrap_err();
        assert!(failure.message.contains("JSON"), "{failure:?}");
        // Slices and sums of lists are lists, not views of views.
        let chained =
            "{% set ns = namespace(s=n) %}{% for a in range(20000) %}{% set ns.s = ns.s[0:] %}{% endfor %}{{ ns.s }}";
        check(&[(chained, "[0, 1, 2, 3, 4]")]);
    });
}

/// Whether a template ran out of what it may cost.
fn is_too_dear(source: &str) -> bool {
    render(source).is_err_and(|failure| failure.message.contains("too many steps"))
}

#[test]
fn loops_and_recursion_end() {
    assert!(is_too_dear("{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}"));
    assert!(is_too_dear("{% for a in range(99999999999) %}{% endfor %}"));
    assert!(is_too_dear(
        "{% for a in range(999) %}{% for b in range(999) %}{% for c in range(999) %}{% endfor %}{% endfor %}{% endfor %}"
    ));
    let failure = render("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}").unwrap_err();
    assert!(failure.message.contains("calls itself"), "{failure:?}");
}

#[test]
fn every_filter_method_and_operator_pays_before_it_makes_its_result() {
    let text = "{% set t = 'xy,' * 999999 %}{% set l = n * 9999 %}";
    for dear in [
        "t * 999999",
        "n * 99999999",
        "(t * 5) ~ t",
        "t.replace('x', t)",
        "t | replace('x', t)",
        "t.replace('', t)",
        "t.split('x') | length",
        "t.split(',', 999999) | length",
        "('x ' * 999999).split() | length",
        "('x\\n' * 999999).splitlines() | length",
        "t | list | length",
        "t | list | join(t)",
        "t.join(l)",
        "l | join(t)",
        "t.format(t) ~ t ~ t ~ t",
        "('{0}' * 999).format(t)",
        "('x\\n' * 999999) | indent(999)",
        "t | indent(99999999999)",
        "t | indent(t, true) ~ t",
        "(t | upper) ~ (t | upper)",
        "(t | title) ~ (t | capitalize) ~ (t.lower())",
        "t[::2] ~ t[::-1]",
        "t | reverse ~ (t | reverse)",
        "(t | tojson) ~ (t | tojson)",
        "([t] * 9) | tojson",
        "([t] * 9) | string",
        "[t, t, t, t, t] | map('upper') | list",
        "l | map('replace', '1', t) | list",
        "range(9999999)",
        "(l * 99) | length",
        "(l + l + l + l + l + l + l + l) | length",
        "l[::-1] + l[:] + l[:] + l[:] + l[:] + l[:]",
        "l | map('string') | map('string') | map('string') | map('string') | list",
        "(l | sort) + (l | sort) + (l | sort)",
        "(['ab'] * 9999) | map('list') | map('list') | map('list') | list",
        "dict(a=l * 9)",
    ] {
        let source = format!("{text}{{% set x = {dear} %}}{{% set x = {dear} %}}{{% set x = {dear} %}}");
        assert!(is_too_dear(&source), "{dear}: {:?}", render(&source));
    }
}

#[test]
fn looking_at_values_is_paid_for_too() {
    // Each of these makes little and looks at much, again and again.
    let text = "{% set t = 'x' * 999999 %}{% set u = t ~ '' %}{% set l = n * 999 %}{% set m = l + [] %}{% set c = 'ab ' * 999 %}\
                {% set g = namespace(s=[1, 1]) %}{% for a in range(40) %}{% set g.s = [g.s, g.s] %}{% endfor %}";
    for dear in [
        "t == u",
        "t < u",
        "t != u",
        "t in u",
        "'y' in t",
        "[t] == [u]",
        "{'a': t} == {'a': u}",
        "t is eq u",
        "t.count('y')",
        "t.find('y')",
        "t.startswith('y')",
        "t.isdigit()",
        "t | length",
        "t[5]",
        "t.strip(c)",
        "t.endswith(['a', 'b', 'c'])",
        "l == m",
        "9 in l",
        "l.count(9)",
        "l | unique | length",
        "[t] | unique | length",
        "l | max",
        "[t, u, t, u] | sort | length",
        "l | select('==', 9) | length",
        "l | map(attribute='a.b.c') | length",
        "g.s == [g.s[0], [g.s[0][0], g.s[1][1]]]",
        "g.s in [1, [g.s, 1]]",
        "(g.s | string) is string",
        "g.s ~ ''",
        "g.s | tojson",
        "[g.s] | join",
        "g.s == (g.s[:])",
        "t is lower",
        "('0' * 999999) | int",
        "('0' * 999999) | float",
        "{t: 1}[u]",
        "d.get(t)",
        "t is divisibleby(2) if 0 else u == t",
        "'%s' in t.replace('y', '')",
    ] {
        let source = format!("{text}{{% for a in range(99999) %}}{{% set x = {dear} %}}{{% endfor %}}");
        assert!(is_too_dear(&source), "{dear}: {:?}", render(&source));
    }
}

#[test]
fn names_and_namespaces_are_paid_for() {
    for dear in [
        "{% for a in range(999999) %}{% set x = namespace(a=1, b=2) %}{% endfor %}",
        "{% set ns = namespace() %}{% for a in range(9) %}{% for b in 'xyz' * 9999 %}{% set ns.x = ns.get(b) %}{% endfor %}{% endfor %}",
        "{% for a in range(99) %}{% for b in range(9999) %}{% set c = b %}{% set d = c %}{% endfor %}{% endfor %}",
        "{% for a in range(99999) %}{% set x %}{{ 'x' * 9999 }}{% endset %}{% endfor %}",
        "{% for a in range(99999) %}{% filter upper %}{{ 'x' * 9999 }}{% endfilter %}{% endfor %}",
        &format!("{{% for a in range(99999) %}}{{{{ {} }}}}{{% endfor %}}", "x".repeat(60_000)),
        "{% macro f() %}{{ 'x' * 9999 }}{% endmacro %}{% for a in range(99999) %}{% set x = f() %}{% endfor %}",
    ] {
        assert!(is_too_dear(dear), "{dear}");
    }
}

#[test]
fn long_requests_may_cost_more() {
    let content = "word ".repeat(1 << 20);
    let message = Value::dict(vec![("role".into(), "user".into()), ("content".into(), content.as_str().into())]);
    let source = "{% for m in messages %}{{ '<' + m.role + '>' + m.content | trim + '\n' }}{{ m.content.strip().split('x')[-1] }}{% endfor %}";
    let text =
        Template::new(source).unwrap().render(vec![("messages", Value::list(vec![message]))], &|_| Ok(String::new()));
    assert_eq!(text.unwrap().len(), 2 * (content.len() - 1) + 7);
    let many: Vec<Value> = (0..5000).map(|_| Value::dict(vec![("content".into(), "x".into())])).collect();
    let source = "{% for m in messages %}{% if loop.index0 % 2 == 0 and m.content is string %}{{ m.content | trim + '\n' }}{% else %}{{ m['content'] }}{% endif %}{% endfor %}";
    let text = Template::new(source).unwrap().render(vec![("messages", Value::list(many))], &|_| Ok(String::new()));
    assert_eq!(text.unwrap().len(), 7500);
}

/// Pieces that random sources are put together from.
const PIECES: &[&str] = &[
    "{{ ",
    " }}",
    "{% ",
    " %}",
    "{%- if ",
    "{% else %}",
    "{% endif %}",
    "{% for a in ",
    "{% endfor %}",
    "{% set x = ",
    "{% set ns.x = ",
    "{% macro f(a, b=1) %}",
    "{% endmacro %}",
    "f(",
    "n",
    "s",
    "d",
    "messages",
    "x",
    "ns",
    "loop",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    ".role",
    ".split('b', 1)",
    ".strip('ä')",
    ".format(1, x=2)",
    ".items()",
    ".replace('', s)",
    "|tojson",
    "|join(s)",
    "|map('upper')",
    "|sort",
    "|unique",
    "|dictsort",
    "|indent(3)",
    "|int",
    "|first",
    " is defined",
    " is divisibleby(0)",
    "[::-2]",
    "[1:]",
    "[-1]",
    " + ",
    " - ",
    " * ",
    " // ",
    " % ",
    " ** ",
    " ~ ",
    " == ",
    " < ",
    " in ",
    " not ",
    " and ",
    " if ",
    " else ",
    "namespace(x=1)",
    "range(3)",
    "'é\\u00e9'",
    "1e400",
    "-1",
    "9999999999999999999999",
    "{# ",
    " #}",
    "{% raw %}",
    "{% endraw %}",
    "é\n",
];

proptest::proptest! {
    #[test]
    fn no_source_makes_it_panic(pieces in proptest::collection::vec(0..PIECES.len(), 0..24)) {
        let source: String = pieces.into_iter().map(|piece| PIECES[piece]).collect();
        for source in [format!("{{% set ns = namespace() %}}{{{{ {source} }}}}"), source] {
            match render(&source) {
                Ok(text) => proptest::prop_assert!(text.len() <= 16 << 20),
                Err(failure) => proptest::prop_assert!(failure.line > 0 && !failure.message.is_empty(), "{failure:?}"),
            }
        }
    }
}
