//! Channel counts that are multiples.

use super::rules::{conv, net, options, proven};
use crate::prune::{Evidence, PruneOptions, Reason, plan};

#[test]
fn filters_are_rounded_to_the_nearest_multiple_by_their_worth() {
    let gammas = [0.1, 0.9, 0.3, 0.8, 0.2, 0.7, 0.4, 0.6];
    let network = net(&(conv(8, 1, "") + &conv(6, 1, "")), &[(0, &gammas), (1, &[5.0; 6])]);
    let whole = vec![0, 1, 2, 3, 4, 5, 6, 7];
    for (low, wanted, back) in
        [(2, whole, Some(vec![0, 4])), (3, vec![1, 3, 5, 7], None), (6, vec![1, 3, 5, 7], Some(vec![5, 7]))]
    {
        let share = f64::from(low) / 14.0 + 1e-9;
        let plan = plan(&network, &PruneOptions { multiple_of: 4, ..options(share) }, &Evidence::default()).unwrap();
        assert_eq!(plan.layers[0].kept, wanted);
        assert_eq!(plan.layers[0].stays.get(&Reason::Multiple), back.as_ref());
        // Six is no multiple of four and has nothing to fill it up with: the layer stays whole.
        assert_eq!(plan.layers[1].kept.len(), 6);
    }
}

#[test]
fn a_carrier_takes_the_place_of_a_channel_and_not_a_multiple_of_its_own() {
    let gammas = [0.1, 0.2, 0.3, 0.15, 5.0, 5.0, 5.0, 4.0];
    let mut network = net(&(conv(8, 1, "") + &conv(4, 3, "")), &[(0, &gammas), (1, &[5.0; 4])]);
    network.conv_mut(0).bias.fill(0.7);
    let one = plan(&network, &options(0.34), &Evidence::default()).unwrap();
    assert_eq!((one.layers[0].kept.as_slice(), one.layers[0].carriers.as_slice()), (&[0, 4, 5, 6, 7][..], &[0][..]));
    let four = PruneOptions { multiple_of: 4, ..options(0.34) };
    let four = plan(&network, &four, &Evidence::default()).unwrap();
    assert_eq!((four.layers[0].kept.as_slice(), four.layers[0].carriers.as_slice()), (&[0, 4, 5, 6][..], &[0][..]));
    proven(&network, &four);
}

#[test]
fn many_worthless_channels_do_not_take_precious_ones_along() {
    // The step of the first layer has three that are worth least, and one that is worth more than all of the second's.
    let [mixed, plain] = [[0.1, 0.1, 0.1, 9.0, 9.0, 9.0, 9.0, 9.0], [0.4, 0.4, 0.4, 0.6, 9.0, 9.0, 9.0, 9.0]];
    let network = net(&(conv(8, 1, "") + &conv(8, 1, "")), &[(0, &mixed), (1, &plain)]);
    let four = PruneOptions { multiple_of: 4, ..options(0.25) };
    let plan = plan(&network, &four, &Evidence::default()).unwrap();
    assert_eq!([0, 1].map(|layer| plan.layers[layer].kept.len()), [8, 4]);
}
