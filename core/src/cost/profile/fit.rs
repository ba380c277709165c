//! Fitting a chip's values to nets that somebody timed on it.

use super::least_squares::non_negative;
use super::{Device, MacArray, Profile, Sourced, TimedNet, Work};
use crate::graph::Graph;
use crate::{Error, Result};

/// A fitted profile, and what it was fitted by.
#[derive(Debug, Clone, PartialEq)]
pub struct Fit {
    /// The profile; its `timed` holds measured and predicted times.
    pub profile: Profile,
    /// The values that were fitted, by their names in the profile.
    pub fitted: Vec<&'static str>,
    /// Those that there were too few nets for.
    pub kept: Vec<&'static str>,
}

/// The values in the order in which they are fitted: as many as there are nets. What nothing is known of comes before
/// the bandwidth.
const UNKNOWNS: [&str; 3] = ["clock_use", "layer_overhead_ms", "bandwidth_gb_s"];

/// Fits clock use, overhead and bandwidth so that the relative errors of the predicted times are least, squared and
/// summed; none becomes negative and the clock use at most 1. `nets` are names, graphs and milliseconds.
///
/// # Errors
/// No nets, a time that is none, or a profile without such values.
pub fn fit(profile: &Profile, nets: &[(String, Graph, f64)]) -> Result<Fit> {
    let Device::MacArray(chip) = &profile.device else {
        return Err(Error::at(&profile.name, "its layers were measured one by one, there is nothing to fit")
            .fix("fit a profile of a chip such as hi3519a"));
    };
    if let Some((net, _, ms)) = nets.iter().find(|(_, _, ms)| !(ms.is_finite() && *ms > 0.0)) {
        return Err(Error::at(net, format!("{ms} ms is no time")).fix("give milliseconds above 0"));
    }
    if nets.is_empty() {
        return Err(Error::at("profile fit", "no net was timed").fix("give the times of some nets"));
    }
    let timed: Vec<(Work, f64)> = nets.iter().map(|(_, graph, ms)| (chip.net_work(graph), *ms)).collect();
    let mut works: Vec<Work> = Vec::new();
    timed.iter().for_each(|(work, _)| {
        if !works.contains(work) {
            works.push(*work)
        }
    });
    // A net that was timed again tells nothing more of the other values.
    let count = works.len().min(UNKNOWNS.len());
    let (found, mut chip) = (solve(chip, &timed, count), chip.clone());
    set(&mut chip, &found, &format!("fitted to {} timed nets", nets.len()));
    let net = |((net, _, measured_ms), (work, _)): (&(String, Graph, f64), &(Work, f64))| TimedNet {
        net: net.clone(),
        measured_ms: *measured_ms,
        predicted_ms: chip.milliseconds(*work),
    };
    let timed: Vec<TimedNet> = nets.iter().zip(&timed).map(net).collect();
    let calibrated = timed.iter().all(TimedNet::is_predicted);
    let profile = Profile { calibrated, timed, device: Device::MacArray(chip), ..profile.clone() };
    Ok(Fit { profile, fitted: UNKNOWNS[..count].to_vec(), kept: UNKNOWNS[count..].to_vec() })
}

/// The first `count` unknowns: milliseconds a cycle beyond those at full use, a layer, a byte.
fn solve(chip: &MacArray, timed: &[(Work, f64)], count: usize) -> Vec<f64> {
    let row = |(work, ms): &(Work, f64)| {
        let columns = [work.cycles, work.layers, work.bytes];
        let known = [0.0, chip.layer_overhead_ms.value, chip.ms_per_byte()];
        let fixed: f64 = columns.iter().zip(known).skip(count).map(|(column, value)| column * value).sum();
        let rest = ms - fixed - work.cycles * chip.ms_per_cycle_at_best();
        (columns[..count].iter().map(|column| column / ms).collect(), rest / ms)
    };
    non_negative(&timed.iter().map(row).collect::<Vec<_>>())
}

fn set(chip: &mut MacArray, found: &[f64], source: &str) {
    let sourced = |value| Sourced { value, source: source.to_owned() };
    let best = chip.ms_per_cycle_at_best();
    if let Some(beyond) = found.first() {
        chip.clock_use = sourced(best / (best + beyond));
    }
    if let Some(overhead) = found.get(1) {
        chip.layer_overhead_ms = sourced(*overhead);
    }
    if let Some(per_byte) = found.get(2) {
        chip.bandwidth_gb_s = sourced(1e-6 / per_byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::darknet::Cfg;

    fn chip() -> Profile {
        Profile::find("hi3519a").unwrap()
    }

    /// Nets that differ in what limits them.
    fn nets() -> Vec<Graph> {
        let conv = |n: usize, k: usize| format!("[convolutional]\nfilters={n}\nsize={k}\npad=1\n");
        let cfgs = [
            (64, conv(64, 3) + &conv(128, 3)),
            (64, conv(5, 1).repeat(20)),
            (8, conv(512, 3) + &conv(1024, 3)),
            (128, conv(16, 3) + "[maxpool]\n" + &conv(32, 3)),
        ];
        let graph = |(size, layers): &(usize, String)| {
            let text = format!("[net]\nwidth={size}\nheight={size}\n{layers}");
            Graph::from_cfg(&Cfg::parse(text.as_bytes()).unwrap()).unwrap()
        };
        cfgs.iter().map(graph).collect()
    }

    fn timed(on: &Profile, nets: &[Graph]) -> Vec<(String, Graph, f64)> {
        nets.iter().enumerate().map(|(i, g)| (format!("net{i}"), g.clone(), on.milliseconds(g))).collect()
    }

    #[test]
    fn the_values_that_times_were_made_with_come_back() {
        let mut real = chip();
        let Device::MacArray(array) = &mut real.device else { panic!("an array") };
        (array.clock_use.value, array.layer_overhead_ms.value, array.bandwidth_gb_s.value) = (0.4, 0.03, 2.5);
        let wanted = array.clone();
        for count in [3, 4] {
            let fit = fit(&chip(), &timed(&real, &nets()[..count])).unwrap();
            let Device::MacArray(found) = &fit.profile.device else { panic!("an array") };
            for (found, wanted) in [
                (found.clock_use.value, wanted.clock_use.value),
                (found.layer_overhead_ms.value, wanted.layer_overhead_ms.value),
                (found.bandwidth_gb_s.value, wanted.bandwidth_gb_s.value),
            ] {
                assert!((found / wanted - 1.0).abs() < 1e-6, "{found} {wanted}");
            }
            assert!(fit.profile.calibrated && fit.kept.is_empty());
            assert!(fit.profile.timed.iter().all(|t| (t.predicted_ms / t.measured_ms - 1.0).abs() < 1e-6));
            let toml = fit.profile.to_toml().unwrap();
            assert_eq!(Profile::parse(&toml).unwrap(), fit.profile);
        }
    }

    #[test]
    fn fewer_nets_fit_fewer_values_and_the_others_stay() {
        let mut real = chip();
        let Device::MacArray(array) = &mut real.device else { panic!("an array") };
        (array.clock_use.value, array.layer_overhead_ms.value) = (0.7, 0.0);
        for (count, kept) in [(1, &["layer_overhead_ms", "bandwidth_gb_s"][..]), (2, &["bandwidth_gb_s"])] {
            let fit = fit(&chip(), &timed(&real, &nets()[..count])).unwrap();
            let Device::MacArray(found) = &fit.profile.device else { panic!("an array") };
            assert_eq!(fit.kept, kept);
            assert!((found.clock_use.value - 0.7).abs() < 1e-9, "{}", found.clock_use.value);
            assert_eq!(found.bandwidth_gb_s.value, 10.0);
        }
    }

    #[test]
    fn a_net_that_is_timed_again_tells_no_further_value_and_times_that_no_chip_has_calibrate_nothing() {
        let nets = nets();
        let again: Vec<_> = [140.0, 140.0, 130.0].iter().map(|ms| ("a".to_owned(), nets[0].clone(), *ms)).collect();
        assert_eq!(fit(&chip(), &again).unwrap().kept, ["layer_overhead_ms", "bandwidth_gb_s"]);
        let wrong = [("a".to_owned(), nets[0].clone(), 1e-6)];
        assert!(!fit(&chip(), &wrong).unwrap().profile.calibrated);
    }

    #[test]
    fn a_bus_that_never_limits_is_said_to_be_infinitely_fast_and_read_back() {
        let mut real = chip();
        let Device::MacArray(array) = &mut real.device else { panic!("an array") };
        (array.clock_use.value, array.bandwidth_gb_s.value) = (0.5, f64::INFINITY);
        let fit = fit(&chip(), &timed(&real, &nets())).unwrap();
        let Device::MacArray(found) = &fit.profile.device else { panic!("an array") };
        assert!(found.bandwidth_gb_s.value > 1e6, "{}", found.bandwidth_gb_s.value);
        assert_eq!(Profile::parse(&fit.profile.to_toml().unwrap()).unwrap(), fit.profile);
    }

    #[test]
    fn what_can_not_be_fitted_is_named() {
        let nets = nets();
        assert!(fit(&chip(), &[]).is_err());
        let message = fit(&chip(), &[("a.cfg".to_owned(), nets[0].clone(), 0.0)]).unwrap_err().to_string();
        assert!(message.starts_with("a.cfg: 0 ms is no time"), "{message}");
    }
}
