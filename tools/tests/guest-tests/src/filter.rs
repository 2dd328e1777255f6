// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A filter that no case passes: a run that tests nothing must not look like one that passed.

use libtest_mimic::{Arguments, Trial};

/// A case that fails, in the place of the one that `--exact` names, if there is no case of that name. `unlisted` are
/// the reasons for which sets could not list theirs.
pub fn absent(arguments: &Arguments, trials: &[Trial], unlisted: &[String]) -> Option<Trial> {
    let name = arguments.filter.as_deref()?;
    if !arguments.exact || arguments.list || trials.iter().any(|trial| trial.name() == name) {
        return None;
    }
    let mut reason = "there is no case of this name; --list shows all".to_string();
    for set in unlisted {
        reason += &format!("\nsome could not be listed: {set}");
    }
    Some(Trial::test(name, move || Err(reason.into())))
}

/// A case that fails, in the place of those of a set that could not be listed: they must be seen as a failure, not as a smaller
/// number. Who leaves out the whole set by its name leaves this out too.
pub fn unlisted(set: &str, reason: String) -> Trial {
    Trial::test(format!("{set}::is_listed"), move || Err(reason.into()))
}

/// A word to the user if a filter without `--exact` leaves nothing. That is no failure: cargo gives the same filter to
/// the tests of several packages.
pub fn warning(arguments: &Arguments, trials: &[Trial]) -> Option<String> {
    let part = arguments.filter.as_deref()?;
    if arguments.exact || trials.iter().any(|trial| trial.name().contains(part)) {
        return None;
    }
    Some(format!("no guest test has \"{part}\" in its name"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(filter: &str, exact: bool) -> (bool, bool) {
        let trials = [Trial::test("wait::timeout_0", || Ok(()))];
        let arguments = Arguments {
            filter: Some(filter.into()),
            exact,
            ..Arguments::default()
        };
        (
            absent(&arguments, &trials, &[]).is_some(),
            warning(&arguments, &trials).is_some(),
        )
    }

    #[test]
    fn a_name_that_does_not_exist_fails() {
        assert_eq!(of("wait::timeout_0", true), (false, false));
        assert_eq!(of("wait::timeout_", true), (true, false));
        assert_eq!(of("wait", true), (true, false));
    }

    #[test]
    fn a_part_of_no_name_is_mentioned() {
        assert_eq!(of("timeout", false), (false, false));
        assert_eq!(of("nothing", false), (false, true));
    }

    /// As `--skip network::`, with which the debug kernels leave out what they did not prepare.
    #[test]
    fn a_set_that_is_left_out_need_not_be_listed() {
        let trial = unlisted("network", "no iperf3".into());
        assert!(trial.name().contains("network::"));
    }

    #[test]
    fn without_a_filter_nothing_is_said() {
        let arguments = Arguments::default();
        assert!(absent(&arguments, &[], &[]).is_none() && warning(&arguments, &[]).is_none());
    }
}
