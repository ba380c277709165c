//! safetensors, for programs in Python: one file with every number of the net and its cfg.

use safetensors::{Dtype, View};

use super::ExportedFile;
use crate::graph::Graph;
use crate::{Error, Network, Result};

/// The file of `network`, called `name`.
///
/// Nothing is folded. Names are those of PyTorch's modules, with the layer's index in the cfg: `layers.N.conv.weight`
/// `[filters, channels_in / groups, size, size]`; with normalisation `layers.N.bn.weight`, `.bias`, `.running_mean` and
/// `.running_var`, `[filters]`; else `layers.N.conv.bias`. The metadata holds the cfg's text (`cfg`) and what is added
/// to a variance (`bn_eps`).
///
/// # Errors
/// None that an input can cause.
pub fn write(network: &Network, name: &str) -> Result<Vec<ExportedFile>> {
    let cfg = network.cfg.to_string();
    let metadata = [("format", "pt"), ("cfg", cfg.as_str()), ("bn_eps", "1e-5")];
    let wrong = |e: &dyn std::fmt::Display| Error::at("safetensors", e).fix("report this as a bug");
    let bytes = safetensors::serialize(tensors(network), None).map_err(|e| wrong(&e))?;
    let bytes = with_metadata(&bytes, &metadata).ok_or_else(|| wrong(&"the header has no end"))?;
    Ok(vec![ExportedFile { name: format!("{name}.safetensors"), bytes }])
}

/// The file with metadata in the order given, so that the same net gives the same bytes: the library keeps them in a map
/// whose order changes from run to run. A file is the header's length in 8 bytes, the header, an object of JSON that
/// spaces fill up to whole multiples of 8 bytes, and the numbers. None if it is no such file.
fn with_metadata(file: &[u8], metadata: &[(&str, &str)]) -> Option<Vec<u8>> {
    let (length, rest) = file.split_first_chunk::<8>()?;
    let (header, numbers) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    let arrays = std::str::from_utf8(header).ok()?.trim_end().strip_prefix('{')?;
    let entries: Vec<String> =
        metadata.iter().map(|(key, value)| format!("{}:{}", quoted(key), quoted(value))).collect();
    let comma = if arrays == "}" { "" } else { "," };
    let mut header = format!("{{\"__metadata__\":{{{}}}{comma}{arrays}", entries.join(","));
    header += &" ".repeat(header.len().next_multiple_of(8) - header.len());
    Some([&(header.len() as u64).to_le_bytes(), header.as_bytes(), numbers].concat())
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The arrays by name.
fn tensors(network: &Network) -> Vec<(String, Array<'_>)> {
    let mut tensors = Vec::new();
    for (layer, c) in network.graph.convolutions() {
        let weights = network.conv(layer);
        let mut add = |part: &str, sides: &[usize], values| {
            tensors.push((format!("layers.{layer}.{part}"), Array { sides: sides.to_vec(), values }));
        };
        add("conv.weight", &kernel_sides(&network.graph, layer, c.filters, c.groups, c.size), &weights.kernel);
        let Some(norm) = &weights.norm else {
            add("conv.bias", &[c.filters], &weights.bias);
            continue;
        };
        add("bn.weight", &[c.filters], &norm.gamma);
        add("bn.bias", &[c.filters], &weights.bias);
        add("bn.running_mean", &[c.filters], &norm.mean);
        add("bn.running_var", &[c.filters], &norm.variance);
    }
    tensors
}

fn kernel_sides(graph: &Graph, layer: usize, filters: usize, groups: usize, size: usize) -> [usize; 4] {
    [filters, graph.input_shape(layer).channels / groups, size, size]
}

/// 32-bit numbers.
struct Array<'a> {
    sides: Vec<usize>,
    values: &'a [f32],
}

impl View for Array<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.sides
    }

    fn data(&self) -> std::borrow::Cow<'_, [u8]> {
        self.values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>().into()
    }

    fn data_len(&self) -> usize {
        size_of_val(self.values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::darknet::Cfg;
    use safetensors::SafeTensors;

    #[test]
    fn every_number_is_under_its_name_and_the_cfg_is_there() {
        let text = "[net]\nwidth=8\nheight=8\n[convolutional]\nbatch_normalize=1\nfilters=6\nsize=3\n\
            [convolutional]\nfilters=4\ngroups=2\nactivation=linear\n";
        let network = Network::initialise(Cfg::parse(text.as_bytes()).unwrap(), 1).unwrap();
        let files = write(&network, "net").unwrap();
        assert_eq!(files, write(&network, "net").unwrap(), "the same bytes each time");
        let (_, metadata) = SafeTensors::read_metadata(&files[0].bytes).unwrap();
        assert_eq!(metadata.metadata().as_ref().unwrap()["cfg"], text);
        let read = SafeTensors::deserialize(&files[0].bytes).unwrap();
        assert_eq!(read.len(), 7);
        let kernel = read.tensor("layers.1.conv.weight").unwrap();
        assert_eq!(kernel.shape(), [4, 3, 1, 1]);
        let values: Vec<f32> = kernel.data().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        assert_eq!(values, network.conv(1).kernel);
        assert_eq!(u64::from_le_bytes(*files[0].bytes.first_chunk().unwrap()) % 8, 0, "numbers are aligned");
        assert_eq!(read.tensor("layers.0.bn.running_var").unwrap().shape(), [6]);
    }
}
