//! Keys of a `.cfg` that are probably slips of the pen. Darknet passes over what it does not know, and so do we; but a filter count under
//! `fitlers` is not what anybody meant. It also passes over a key that the section has had already.

use super::Cfg;

/// Keys that Darknet and its forks read, of all sections.
const KNOWN: &str = "\
    absolute activation adam adversarial_lr anchors angle antialiasing assisted_excitation aspect attention B1 B2 \
    ball bad_conf batch batch_normalize beta_nms blur burn_in channels classes cls_normalizer contrastive coords \
    counters_per_class cutmix decay delta_normalizer dilation dynamic_minibatch ema_alpha embedding_layer eps \
    equidistant_point exposure filters flip flipped focal_loss from gamma gaussian_noise grad_centr group_id groups \
    growing_size height hue ignore_thresh inputs iou_loss iou_normalizer iou_thresh iou_thresh_kind jitter \
    label_smooth_eps last_layers layers learning_rate learning_rate_min letter_box loss_scale map mask max \
    max_batches max_chart_loss max_crop max_delta maxpool_depth mean_alpha min_crop mixup momentum mosaic \
    mosaic_bound new_coords nms_kind normalizer num num_sigmas obj_normalizer objectness_smooth optimized_memory \
    out_channels out_height out_w out_h pad padding policy power probability random ratio resize resize_step \
    reverse saturation scale scale_x_y scales sequential_subdivisions show_details show_receptive_field size \
    softmax spatial squared step steps stopbackward stride stride_x stride_y subdivisions sway time_steps track \
    track_history_size train truth_thresh tune try_fix_nan use_cuda_graph uc_normalizer weights_normalization \
    weights_normalizion weights_type width workspace_size_limit_MB xnor";

/// Letters that are missing, too many, wrong or out of turn; none where they are more than one, or two in a long word.
fn slips(word: &str, known: &str) -> Option<usize> {
    let most = if known.len() < 6 { 1 } else { 2 };
    let letters = strsim::damerau_levenshtein(&word.to_lowercase(), &known.to_lowercase());
    (known.len() > 3 && letters <= most).then_some(letters)
}

/// A message for each key that is unknown and like a known one, and for each that is repeated, with its place.
#[must_use]
pub fn probable_slips(cfg: &Cfg) -> Vec<String> {
    let known: Vec<&str> = KNOWN.split_whitespace().collect();
    let mut told = Vec::new();
    for section in std::iter::once(cfg.net()).chain(cfg.layers()) {
        for key in section.keys().filter(|key| !known.contains(key)) {
            let like = known.iter().filter_map(|known| slips(key, known).map(|letters| (letters, known)));
            if let Some((_, meant)) = like.min() {
                told.push(format!(
                    "{}: {key}= is no key that is known and has no effect; was {meant}= meant?",
                    section.place()
                ));
            }
        }
        told.extend(section.passed_over().map(|(place, key, value)| {
            let counts = section.get(key).unwrap_or_default();
            format!("{place}: {key}={value} has no effect, for {key}={counts} comes before it; remove one of them")
        }));
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Vec<String> {
        probable_slips(&Cfg::parse(text.as_bytes()).unwrap())
    }

    #[test]
    fn a_slip_is_told_with_its_place_and_what_was_meant() {
        let told = told("[net]\nwidth=32\nheigth=32\n[convolutional]\nfilter=8\nactivaton=leaky\n");
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(told[0].starts_with("1 [net]: heigth= is") && told[0].ends_with("height= meant?"), "{}", told[0]);
        assert!(told[1].starts_with("4 [convolutional] #0: filter="), "{}", told[1]);
    }

    #[test]
    fn a_repeated_key_is_told_with_its_line() {
        let told = told("[net]\nwidth=32\n[convolutional]\nfilters=8\nsize=3\nfilters=16\n[yolo]\nsize=1\n");
        let expected =
            "6 [convolutional] #0: filters=16 has no effect, for filters=8 comes before it; remove one of them";
        assert_eq!(told, [expected]);
    }

    #[test]
    fn other_keys_are_nobodys_business() {
        assert_eq!(told("[net]\nwidth=32\nheight=32\nmy_note=x\n[shortcut]\nfrom=-1\nfoo=2\n"), [""; 0]);
    }
}
