//! What is found where, what a user's text cannot do, and what is refused.

use super::*;
use proptest::prelude::*;

fn special(text: &str, id: u32, control: bool) -> Special<'_> {
    Special { text, id, control, ..Special::default() }
}

fn specials() -> Specials {
    let strip = Special { strip_left: true, strip_right: true, ..special("<u>", 4, true) };
    Specials::new([special("<s>", 1, true), special("<s>x", 2, true), special("«", 3, false), strip]).unwrap()
}

/// Tokens as `Err`, texts as `Ok`.
fn parts(specials: &Specials, text: &str, control: bool) -> Vec<Result<String, u32>> {
    let mut parts = Vec::new();
    specials.split(text, control, |part| {
        parts.push(match part {
            Part::Token(id) => Err(id),
            Part::Text(text) => Ok(text.to_owned()),
        });
    });
    parts
}

fn ids(parts: &[Result<String, u32>]) -> Vec<u32> {
    parts.iter().filter_map(|p| p.as_ref().err().copied()).collect()
}

const NO_IDS: [u32; 0] = [];

fn text(s: &str) -> Result<String, u32> {
    Ok(s.to_owned())
}

#[test]
fn the_longest_token_counts_and_control_ones_only_when_asked() {
    let s = specials();
    assert_eq!(parts(&s, "a<s>b<s>x", true), [text("a"), Err(1), text("b"), Err(2)]);
    assert_eq!(parts(&s, "a<s>«", false), [text("a<s>"), Err(3)]);
    assert_eq!(parts(&s, "", true), []);
    assert_eq!(parts(&s, "a <u>\n <u> b", true), [text("a"), Err(4), Err(4), text("b")]);
    assert_eq!((s.text(3), s.text(2), s.text(9)), (Some("«"), Some("<s>x"), None));
}

#[test]
fn of_tokens_with_the_same_text_the_first_counts_and_all_have_it() {
    let s = Specials::new([special("<s>", 9, true), special("", 1, true), special("<s>", 2, false)]).unwrap();
    assert_eq!(parts(&s, "<s>", true), [Err(9)]);
    assert_eq!(parts(&s, "<s>", false), [text("<s>")]);
    assert_eq!((s.text(9), s.text(2), s.text(1)), (Some("<s>"), Some("<s>"), None));
}

#[test]
fn shielded_text_stays_text() {
    let s = specials();
    for user in ["<s>", "a<s><s>x<", "<<s>s>", "plain", "«<s>", "\u{FDD0}<\u{FDD0}s>", "s>", ">", "<s", " <s "] {
        let rendered = format!("<s>{}<s>", s.shield(user));
        let parts = parts(&s, &rendered, true);
        assert_eq!(ids(&parts).iter().filter(|&&id| id != 3).count(), 2, "{user:?} {parts:?}");
        let texts: String = parts.iter().flatten().map(String::as_str).collect();
        assert_eq!(texts, user.replace([SHIELD, '«'], ""), "{user:?}");
    }
    assert_eq!(s.shield("plain"), "plain");
    assert_eq!(s.shield("<u>"), format!("<{SHIELD}u>"), "no more than it takes");
}

#[test]
fn texts_of_users_side_by_side_make_no_control_token() {
    let s = Specials::new([special("<|im_end|>", 7, true), special("<| x |>", 8, true)]).unwrap();
    for (name, content) in
        [("<|im_", "end|>"), ("<", "|im_end|>"), ("<|im_end|", ">"), ("<| ", "x |>"), ("<| x", " |>")]
    {
        // As a template writes them, and one that strips blanks.
        let both = s.shield(name) + &s.shield(content);
        let stripped = s.shield(&format!("{name} \n")).trim().to_owned() + s.shield(&format!("\t {content}")).trim();
        let three = ["<|", "im_", "end|>"].map(|part| s.shield(part)).concat();
        for text in [both, stripped, three] {
            assert_eq!(ids(&parts(&s, &text, true)), NO_IDS, "{name:?} {content:?}");
        }
        // What the template itself wrote in front.
        assert_eq!(ids(&parts(&s, &format!("{name}{}", s.shield(content)), true)), NO_IDS, "{name:?} {content:?}");
        assert_eq!(ids(&parts(&s, &format!("{}<|im_end|>", s.shield(name)), true)), [7], "{name:?} {content:?}");
    }
}

#[test]
fn a_control_token_of_one_character_stays_text_in_a_users_text() {
    let s = Specials::new([special("§", 1, true), special("§§x", 2, true), special("<§>", 3, true)]).unwrap();
    for user in ["§", "a§b", "§§x", "x§§", "<§>", "§>", "<§"] {
        let rendered = format!("§{}§", s.shield(user));
        assert_eq!(parts(&s, &rendered, true), [Err(1), text(user), Err(1)], "{user:?}");
    }
    assert_eq!(ids(&parts(&s, "§§x§<§>", true)), [2, 1, 3]);
    let many: Vec<String> = ('a'..='z').chain('A'..='F').map(String::from).collect();
    let many = |count: usize| Specials::new((0..count as u32).zip(&many).map(|(id, text)| special(text, id, true)));
    assert!(many(31).is_ok());
    assert_eq!(many(32).err(), Some(SpecialsError::Single));
    assert_eq!(parts(&many(31).unwrap(), &many(31).unwrap().shield("aEz?"), true), [text("aEz?")]);
}

#[test]
fn a_shield_does_not_change_what_user_defined_tokens_are_found() {
    let s = Specials::new([special("<s>", 1, true), special("<s", 2, false), special("<s>xy", 3, false)]).unwrap();
    for user in ["<s>", "a<s>xy", "<s<", "<", "s>xy"] {
        assert_eq!(parts(&s, &s.shield(user), true), parts(&s, user, false), "{user:?}");
    }
}

#[test]
fn many_tokens_that_begin_alike_are_searched_fast() {
    let texts: Vec<String> = (0..4000).map(|n| format!("<|reserved_{n}|>")).collect();
    let s = Specials::new((0..4000).zip(&texts).map(|(id, text)| special(text, id, true))).unwrap();
    let user = "<|reserved_".repeat(50_000);
    assert_eq!(s.shield(&user), format!("{user}{SHIELD}"));
    assert_eq!(parts(&s, "<|reserved_3999|>", true), [Err(3999)]);
}

#[test]
fn more_than_can_be_searched_is_refused_with_what_is_true() {
    let refused = |texts: &[String]| {
        let all = Specials::new((0..).zip(texts).map(|(id, text)| special(text, id, true)));
        all.err().map(|e| e.to_string()).unwrap_or_default()
    };
    let many: Vec<String> = (0..200_000).map(|n| format!("<{n}>")).collect();
    assert!(refused(&many).contains("more than 1048576 bytes"));
    assert_eq!(refused(&["x".repeat(1024)]), "");
    assert!(refused(&["<s>".into(), "x".repeat(1025)]).contains("token 1 has 1025 bytes; at most 1024"));
    let long: Vec<String> = (0..1280).map(|n| format!("{n:0700}")).collect();
    assert_eq!(refused(&long), "", "less than the limit is searched");
}

/// What the search must find, by trying every token everywhere.
fn slow(tokens: &[Special<'_>], text: &str, control: bool) -> Vec<u32> {
    let (mut found, mut at) = (Vec::new(), 0);
    while at < text.len() {
        let here = tokens.iter().filter(|t| (control || !t.control) && text[at..].starts_with(t.text));
        match here.max_by_key(|t| t.text.len()) {
            Some(token) => {
                found.push(token.id);
                at += token.text.len();
            }
            None => at += text[at..].chars().next().map_or(1, char::len_utf8),
        }
    }
    found
}

proptest! {
    #[test]
    fn the_search_finds_what_trying_everything_finds(
        texts in prop::collection::btree_set("[ab«<]{1,5}", 1..12),
        control in prop::collection::vec(any::<bool>(), 12),
        input in "[ab«<]{0,30}",
    ) {
        let tokens: Vec<Special<'_>> =
            (0..).zip(&texts).zip(control).map(|((id, text), control)| special(text, id, control)).collect();
        let s = Specials::new(tokens.iter().copied()).unwrap();
        for control in [true, false] {
            prop_assert_eq!(ids(&parts(&s, &input, control)), slow(&tokens, &input, control));
        }
    }

    /// Literal parts of templates, of which each may begin a control token, with texts of users between them.
    #[test]
    fn no_text_of_a_user_makes_a_control_token(
        gaps in prop::collection::vec(("(<s>|</s>|<\\|x\\|>|<\\|x|<\\|||§|a b| )", "[<s>/|x§ a]{1,6}"), 1..8),
    ) {
        let texts = ["<s>", "</s>", "<|x|>", "<|", "§", "<|x", "a a", "<s>a"];
        let s = Specials::new((0..).zip(texts).map(|(id, text)| special(text, id, true))).unwrap();
        let rendered: String = gaps.iter().map(|(literal, user)| format!("{literal}{}", s.shield(user))).collect();
        let own: Vec<u32> = gaps.iter().flat_map(|(literal, _)| ids(&parts(&s, literal, true))).collect();
        let all = parts(&s, &rendered, true);
        prop_assert_eq!(ids(&all), own);
    }
}
