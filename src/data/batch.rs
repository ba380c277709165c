//! What the trainer eats.

/// Images of one size and the objects on them.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// `[count][height][width][3]`, RGB, 0 to 1.
    pub images: Vec<f32>,
    /// Number of images: none where a batch is too small for every worker to have some.
    pub count: usize,
    /// Number of images of the whole batch, where it is shared among workers.
    pub whole: usize,
    /// The place of the first image in the whole batch.
    pub first: usize,
    /// Width of every image in pixels.
    pub width: usize,
    /// Height of every image in pixels.
    pub height: usize,
    /// The objects of all images, in the images' order.
    pub targets: Vec<Target>,
    /// Regions of the images whose objects are not labelled one by one, or are too hard to be asked for: what is found
    /// there is neither right nor wrong. Their class means nothing.
    pub ignored: Vec<Target>,
    /// Index in the data set of each image of the whole batch; of its first tile, for a mosaic.
    pub indices: Vec<usize>,
}

/// One object to be found: centre and size as shares of the net's input, 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Target {
    /// Index of the image in its batch.
    pub image: usize,
    /// Index of the class, from 0.
    pub class: usize,
    /// Centre from the left edge, in widths.
    pub cx: f32,
    /// Centre from the top edge, in heights.
    pub cy: f32,
    /// Width, in widths of the input.
    pub w: f32,
    /// Height, in heights of the input.
    pub h: f32,
}

/// What is on the images of a batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Labels<'a> {
    /// The objects.
    pub targets: &'a [Target],
    /// Regions where nothing counts as background.
    pub ignored: &'a [Target],
}

impl<'a> Labels<'a> {
    /// These objects, and nothing that is ignored.
    #[must_use]
    pub fn of(targets: &'a [Target]) -> Self {
        Self { targets, ignored: &[] }
    }
}

/// What is on one image in the making.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Found {
    pub targets: Vec<Target>,
    pub ignored: Vec<Target>,
}
