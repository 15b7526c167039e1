//! How many tokens of each sequence go into the next step. Pure.

/// What a sequence could compute next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// It waits: for its client, or for another that computes the same prompt.
    Nothing,
    /// The token chosen last.
    Token,
    /// A prompt with so many tokens left.
    Prompt(usize),
    /// A prompt that cannot be cut.
    Whole(usize),
}

impl Need {
    /// Tokens of its prompt that are not computed.
    pub fn rows(&self) -> usize {
        match *self {
            Self::Prompt(left) | Self::Whole(left) => left,
            Self::Nothing | Self::Token => 0,
        }
    }
}

/// Tokens of each sequence in the next step, oldest sequence first, with at most `budget` tokens of prompts.
///
/// Half of the budget is for the oldest prompt, so that a long one gets on whatever comes after it; the rest goes to the
/// prompts with the fewest tokens left, so that short ones do not wait behind a long one; what is left over is the oldest's again.
pub(super) fn tokens(needs: &[Need], budget: usize) -> Vec<usize> {
    let mut given: Vec<usize> = needs.iter().map(|need| usize::from(*need == Need::Token)).collect();
    let left = |at: usize| needs[at].rows();
    let mut prompts: Vec<usize> = (0..needs.len()).filter(|&at| left(at) > 0).collect();
    let Some(&oldest) = prompts.first() else { return given };
    let mut rest = budget;
    let give = |at: usize, most: usize, rest: &mut usize, given: &mut [usize]| {
        let more = match needs[at] {
            // The first in a step goes whatever its length is; it would never fit later either.
            Need::Whole(all) if given[at] == 0 && (all <= most || *rest == budget) => all,
            Need::Prompt(all) => (all - given[at]).min(most),
            _ => 0,
        };
        given[at] += more;
        *rest = rest.saturating_sub(more);
    };
    give(oldest, budget.div_ceil(2), &mut rest, &mut given);
    prompts.sort_by_key(|&at| (left(at), at));
    for &at in prompts.iter().chain([&oldest]) {
        give(at, rest, &mut rest, &mut given);
    }
    given
}

#[cfg(test)]
mod tests {
    use super::*;
    use Need::{Nothing, Prompt, Token, Whole};
    use proptest::prelude::*;

    #[test]
    fn every_answer_gets_its_token() {
        assert_eq!(tokens(&[Token, Nothing, Token], 0), [1, 0, 1]);
        assert_eq!(tokens(&[Token, Prompt(100), Token], 32), [1, 32, 1]);
        assert_eq!(tokens(&[], 5), [0usize; 0]);
    }

    #[test]
    fn short_prompts_enter_together_and_beside_a_long_one() {
        assert_eq!(tokens(&[Prompt(12); 8], 256), [12; 8]);
        assert_eq!(tokens(&[Prompt(8000), Prompt(20), Prompt(30)], 256), [206, 20, 30]);
        assert_eq!(tokens(&[Prompt(8000), Prompt(20), Prompt(30)], 64), [32, 20, 12]);
    }

    #[test]
    fn the_oldest_gets_half_whatever_comes() {
        assert_eq!(tokens(&[Prompt(900), Prompt(4), Prompt(4), Prompt(4)], 8), [4, 4, 0, 0]);
        assert_eq!(tokens(&[Prompt(900), Prompt(901)], 100), [100, 0]);
        assert_eq!(tokens(&[Prompt(900), Prompt(5)], 1), [1, 0]);
    }

    #[test]
    fn what_cannot_be_cut_goes_whole() {
        assert_eq!(tokens(&[Whole(500), Whole(10)], 64), [500, 0]);
        assert_eq!(tokens(&[Whole(20), Whole(30), Whole(40)], 64), [20, 30, 0]);
    }

    proptest! {
        #[test]
        fn the_budget_is_kept_and_used(lefts in proptest::collection::vec(0usize..300, 0..10), budget in 1usize..400) {
            let needs: Vec<Need> = lefts.iter().map(|&left| if left == 0 { Token } else { Prompt(left) }).collect();
            let given = tokens(&needs, budget);
            let rows: usize = given.iter().zip(&lefts).filter(|(_, left)| **left > 0).map(|(given, _)| given).sum();
            prop_assert_eq!(rows, budget.min(lefts.iter().sum()));
            prop_assert!(given.iter().zip(&lefts).all(|(given, left)| given <= &(*left).max(1)));
        }
    }
}
