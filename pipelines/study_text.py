"""The words of the page of results; its figures are put between them by `study_page`."""

INTRODUCTION = """
# Rock and soil maps from thermal time series: what holds up

What was run on the pixels of the rock-and-soil study (two of its regions, Puertollano and Santa
Olalla), what came out under splits that do not leak, and what the study's own figures mean. All
tables and maps below were written by `thermocube study page` from files that the commands at the
end of this page write; nothing was typed in.

The data are the study's own training pixels, put back in place. Two defects of theirs cannot be
undone: the band that the study took for land-surface temperature is its **uncertainty**
(`lst_err`, about 1 K), so there is no temperature here at all, only that and wide-band
emissivity; and dates were inferred. Radar and colour in the files were stretched to 0..1 image by
image; they have no unit. Pixels that the study's quality mask rejects are missing.

## In short
"""

LEAKSAFE = """
## Leak-safe: every block of ground tested once

The map does not change with time, so that a split by date tests nothing but memory. Here the
ground is cut into twelve compact groups of blocks of 32 px (2.2 km); each is tested once, with a
classifier that has seen no label within 24 px (1.7 km) of it. That buffer exceeds the 21 px
over which features look around, so that no pixel enters both a training and a test feature.

*Features*: each scene less its median; then mean, spread and quantiles over dates, medians and
spread by day, by night and by season, the waves of the year and of the day; then mean and spread
of all these over Gaussian windows of 2 and 5 px. *Classifiers*: linear discriminants and extremely
randomised trees; geometric mean of their probabilities. *Imagery and labels nearby* puts the
shares of the classes in the known ground around (Gaussian of 12 px, beyond the buffer) in
place of the overall frequencies. How far the imagery is trusted and how much rare classes are
lifted is chosen for each fold on the other folds alone: best macro F1 among what does not fall
below the majority class in OA. Where the OA of the ground tested is below it after all, that
choice did not carry over: the folds differ that much, and imagery at hand is not to be trusted
with it.

The same pixels are scored by predictors that see no imagery: the majority class, the memory of
the place (which remembers nothing here, so that it comes to the majority class), and the labels
nearby. The latter is the one to beat: a map drawn from its known parts. Brackets hold 95 %
intervals, from blocks of 32 px drawn again and again; differences are drawn from the same
blocks. The reference is a random forest on the emissivity's statistics over dates. It is known
to reach about the same OA and a higher macro F1 under other blocks, which we do not have: figures
of this page should be compared with one another only. Digests of plans hold for the snapshot
named; a cube that is ingested anew has another snapshot, and the same folds.
"""

TRIED = """
### What was tried, and what did not help

* Trees alone, whatever is done to their priors: near the OA of the majority class they hardly
  find any other class; linear discriminants find more, and claim too much.
* Lifting rare classes all the way to equal priors: overall accuracy collapses, and they are not
  found.
* Smoothing log-probabilities over neighbours, twice as many folds, windows of 10 px beside those
  of 2 and 5 px: differences within chance.
* A small U-Net on single dates comes to predict the majority class.

These trials were made on the same regions and folds, mostly with the linear classifier; what
followed from them (features, windows, the scale of 12 px) is thus not free of what the test
ground holds. Only trust and lift were chosen on inner folds. The intervals know of neither.
"""

AIM = """
The aim for Puertollano was a macro F1 of {aim} at an OA above that of the majority class. It was
**{verdict}**. Sand, clay and foliated rock lie in a handful of polygons each: a fold that is
tested leaves next to nothing of them to learn from, and each counts as much as the class that
covers most of the map.
"""

TRANSFER = """
## Transfer: one region learnt, another mapped

No label of the tested region is used; nothing is chosen. Classes that the learnt region does not
have cannot be found: they count as missed.
"""

NETWORKS = """
## The study's own protocol

85 % of the dates for training, the last 15 % of these to choose the epoch by; the last 15 % for
the test; every place in all of them. **Memorise the place**, a table of the training labels by
pixel that never looks at an image, scores 1 under it. What a network scores here is, for all
that can be told, the share of the map that it remembers; it says nothing of rock or soil, and
neither do the published figures. Figures are OA / macro F1; the published F1 may be weighted
otherwise, which the study does not say.

Ours are networks of the study's design, with fewer filters than its own, on the same two bands and
with its class weights (but for the first half of the training in Puertollano). Everything is set to
remember places: no penalty, no dropout, patches neither turned nor mirrored, and large. The study
cut 64 or 128 px. The larger a patch, the fewer places there are to tell apart: two in Puertollano;
in Santa one patch is as large as the region, but for six columns. Patches of 128 px were given up
after 400 and 700 steps, still at the majority class. Settings were chosen on the validation dates;
one training each, seed 0. The recipes lie in `docs/results/protocol-*.toml`.
"""

SHUFFLING = """
**The same networks on noise.** Below, the valid pixels of each test image are put in random order:
no pattern is left but that of the missing pixels. It is done patch by patch and not blended, so
that figures differ a little from those above. A network that scores the same on shuffled pixels
does not look at the imagery at all; one that scores less looks, under this protocol, for what
tells it the place.
"""

GRIDS = """
## Santa's three grids

Santa Olalla straddles two UTM zones, and its images lie on three grids. The study read the label
at the same row and column for all of them. Here each grid is a source with a place of its own
(`where = { grid_id = 1 }`), and labels go where their coordinates say. The table shows what
reading by pixel index does: on all dates but those of the first grid most labels are of another
place. The published networks nevertheless score well there (table above). Labels that lie so far
off cannot be told from rock; they can only be told from the place. That is the plainest
evidence on this page that those figures measure memory.
"""

SIGNATURES = """
## Thermal signatures, and the two hypotheses

The study expected sand to warm faster by day, and to cool faster after it, than clay. Rates are
slopes over the hour of local solar time, beside an annual wave, with intervals from dates drawn
again and again; where there is truly no slope, these intervals leave out 0 in 7 to 10 of 100
cases instead of 5, so that they are a little too narrow. Below stands what the bands at
hand show: differences between sand and clay that cannot be told from 0. They are no evidence on
the hypotheses in either direction, since neither band is a temperature. The study found its
hypotheses supported; as far as its own pixels show, on the uncertainty of LST taken for LST.
"""

CONFIDENCE = """
## Confidence, correctness, vegetation

Neighbouring pixels say much the same: *worth* is the number of independent ones that would be as
sure (Clifford, Richardson & Hémon 1989). There is no near infrared in either file, so **no
NDVI**: what stands for vegetation is green less red of the few clear Landsat images, each
scaled by itself. Take it as a hint at most.
"""

COMMANDS = """
## How to make this page

```
thermocube study regions DATA study            # DATA holds the study's NetCDF files
thermocube ingest study/puertollano.toml
thermocube ingest study/santa.toml
thermocube study classify study/puertollano.toml study/classify-puertollano.json
thermocube study classify study/puertollano.toml study/classify-puertollano-layers.json \\
  --layers DATA/thesis_puertollano.nc
thermocube study classify study/santa.toml study/classify-santa.json
thermocube study distance study/puertollano.toml study/distance-puertollano.json
thermocube study distance study/puertollano.toml study/distance-puertollano-layers.json \\
  --layers DATA/thesis_puertollano.nc
thermocube study distance study/santa.toml study/distance-santa.json
thermocube study transfer study/puertollano.toml study/santa.toml study/transfer-to-santa.json
thermocube study transfer study/santa.toml study/puertollano.toml study/transfer-to-puertollano.json
thermocube study signatures study/puertollano.toml study/signatures-puertollano.json
thermocube study signatures study/santa.toml study/signatures-santa.json
thermocube study confidence study/classify-puertollano.npz study/confidence-puertollano.json \\
  --layers DATA/thesis_puertollano.nc
thermocube study confidence study/classify-puertollano-layers.npz \\
  study/confidence-puertollano-layers.json --layers DATA/thesis_puertollano.nc
thermocube study confidence study/classify-santa.npz study/confidence-santa.json
thermocube study grids DATA/thesis_santa.nc study/grids-santa.json
thermocube study baselines study/puertollano.toml study/baselines-puertollano.json
thermocube study baselines study/santa.toml study/baselines-santa.json
thermocube train study/puertollano.toml study/models/cnn-puertollano-first \\
  --recipe docs/results/protocol-cnn-puertollano-first.toml
thermocube train study/puertollano.toml study/models/cnn-puertollano \\
  --recipe docs/results/protocol-cnn-puertollano.toml --start study/models/cnn-puertollano-first
thermocube predict study/puertollano.toml study/models/cnn-puertollano --stride 128
thermocube evaluate study/puertollano.toml study/models/cnn-puertollano --json \\
  > study/protocol-cnn-puertollano.json
thermocube study shuffled study/puertollano.toml study/models/cnn-puertollano \\
  study/shuffled-cnn-puertollano.json
thermocube train study/santa.toml study/models/cnn-santa-first \\
  --recipe docs/results/protocol-cnn-santa-first.toml
thermocube train study/santa.toml study/models/cnn-santa \\
  --recipe docs/results/protocol-cnn-santa.toml --start study/models/cnn-santa-first
thermocube predict study/santa.toml study/models/cnn-santa --stride 281
thermocube evaluate study/santa.toml study/models/cnn-santa --json > study/protocol-cnn-santa.json
thermocube study shuffled study/santa.toml study/models/cnn-santa study/shuffled-cnn-santa.json
for n in cnn convlstm; do for r in puertollano santa; do
  thermocube train study/$r.toml study/models/leaksafe-$n-$r --folds 6 --json \\
    --recipe docs/results/leaksafe-$n-$r.toml > study/leaksafe-$n-$r.json; done; done
thermocube study learn study/simulated study/learn-simulated.json
thermocube study page study docs/results.md
```

`make study` runs all but the networks, which `make protocol`, `make leaksafe` and `make learn` do.
"""
