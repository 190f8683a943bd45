"""What each kind of figure shows and how it was made, in words that stand below it in a report."""

CAPTIONS = {
    "profile": (
        "The spatial profile: aligned overlaps q(l) of weights, r(l) of signs on the training set and "
        "r_test(l) on the test set against the layer l, averaged over the last half of the run. Filled: "
        "student and teacher; rings: two clones; bars: standard error over samples. Where both starts are "
        "there, the second row shows the planted one on its own scale. Black lines, if any: theory of the "
        "dense limit."
    ),
    "evolution": (
        "The same overlaps of student and teacher at log-spaced times t (colour), one row per start: how the "
        "profile of the planted start decays and that of the random start grows, layer by layer."
    ),
    "relaxation": (
        "Training error E/(NM), and q of the first, middle and last layer, against log time: where the two "
        "starts lie on top of each other, the run has forgotten them."
    ),
    "equilibration": (
        "The three criteria of equilibrium in q(l), each with its standard error and, in grey, the "
        "tolerance: planted minus random start; teacher-clone minus clone-clone overlap, equal where the "
        "student is drawn from the posterior; last half of the run minus the quarter before it. Below "
        "right the outcomes and the verdict, layer by layer. Points outside the band speak against "
        "equilibrium, long bars say that samples are too few to tell."
    ),
    "distribution": (
        "P(q): distribution of the aligned weight overlap q of two clones in the last half of the run at "
        "the coldest temperature, layer by layer, averaged over samples (band: standard error); dashed: of "
        "student and teacher. In equilibrium at E = 0 the two are one distribution, whatever the start."
    ),
    "autocorrelation": (
        "Aligned overlap of a student with itself at the waiting time t_w, against t - t_w, layer by layer. "
        "Curves of different t_w on top of each other: the run is stationary; curves that depend on t_w: it "
        "ages."
    ),
    "acceptance": (
        "Accepted over proposed moves since the last measurement, layer by layer, against log time."
    ),
    "loops": (
        "What the dense limit leaves out. Without theory: pairs of perceptrons of a layer that share two or "
        "more inputs, with the mean for random wiring, and the mean squared correlation of distinct neurons. "
        "With theory: measured less predicted q(l) against both, one colour per layer, one point per file."
    ),
    "exchange": (
        "Parallel tempering: acceptance of swaps between neighbouring temperatures, the communication "
        "barrier along the ladder, the ways of the replicas of one ladder, and round trips per replica."
    ),
    "free_energy": (
        "Training error along the ladder, the free energy that its integral gives beside that of MBAR, and "
        "their difference with the estimated error of the quadrature."
    ),
    "generalization": (
        "Test error (fraction of wrong output bits on fresh patterns) in the last half of each run against "
        "what the scan varies; dotted: guessing. Black lines, if any: theory of the dense limit."
    ),
}
