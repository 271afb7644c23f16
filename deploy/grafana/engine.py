"""What the engine does: stages, what is around them, the machine."""

from deploy.grafana.panels import Panel, Query
from deploy.grafana.promql import IN, level, mean, quantiles, rate

_PADDED, _ASKED = rate("padded_rows_total"), rate("step_rows_sum")

STAGES = (
    Panel(
        "Time by stage",
        "Seconds of denoiser calls by second; a call that serves two schedules counts for both.",
        (Query(rate("step_seconds_sum", "schedule, stage", IN), "{{schedule}} {{stage}}"),),
        "percentunit",
        stack=True,
    ),
    Panel(
        "Calls by duration",
        "How many denoiser calls took how long.",
        (Query(f"sum by (le) (increase(diffes_step_seconds_bucket{{{IN}}}[$__rate_interval]))"),),
        "s",
        "heatmap",
    ),
    Panel(
        "Mean call by stage",
        "Mean duration of a denoiser call.",
        (Query(mean("step_seconds", "schedule, stage, backend", IN), "{{schedule}} {{stage}} {{backend}}"),),
        "s",
    ),
    Panel(
        "Between two calls",
        "From the end of a denoiser call to the start of the next, while there is work: what the engine costs.",
        quantiles("step_gap_seconds"),
        "s",
    ),
    Panel(
        "Images together by stage",
        "Mean number of images in a denoiser call.",
        (Query(mean("step_images", "schedule, stage", IN), "{{schedule}} {{stage}}"),),
        "short",
    ),
    Panel(
        "Steps by stage",
        "Steps that images took, by second.",
        (Query(rate("steps_total", "schedule, stage", IN), "{{schedule}} {{stage}}"),),
        "short",
        stack=True,
    ),
    Panel(
        "Switches",
        "Share of denoiser calls that went to another subgraph than the one before.",
        (Query(f"{rate('switches_total')} / {rate('step_rows_count')}", "of calls"),),
        "percentunit",
        most=1,
    ),
    Panel("Rows of a call", "Guidance doubles them.", quantiles("step_rows"), "short"),
    Panel(
        "Padding",
        "Rows calculated for nobody, of all rows.",
        (Query(f"{_PADDED} / ({_PADDED} + {_ASKED})", "of rows"),),
        "percentunit",
        most=1,
    ),
    Panel(
        "Wasted steps",
        "Steps of images that nobody got, by how their request ended.",
        (Query(rate("wasted_steps_total", "status"), "{{status}}"),),
        "short",
        stack=True,
    ),
)

AROUND = (
    Panel("Condition call", "Once a request.", quantiles("condition_seconds"), "s"),
    Panel("Decoder call", "A few images or previews at once.", quantiles("decode_seconds"), "s"),
    Panel(
        "Decoded",
        "Images and previews, by second.",
        (Query(rate("decoded_images_total", "instance"), "{{instance}}"),),
        "short",
    ),
)

MACHINE = (
    Panel(
        "Memory",
        "Resident memory of the workers, and what torch holds on CUDA devices.",
        (
            Query(level("resident_bytes"), "resident {{instance}}"),
            Query(level("device_bytes", by="instance, kind"), "device {{kind}} {{instance}}"),
        ),
        "bytes",
    ),
    Panel(
        "Weights",
        "The blob that serves all schedules, and the dense model alone.",
        (Query(level("weight_bytes", "max", "of"), "{{of}}"),),
        "bytes",
    ),
    Panel(
        "What runs",
        "Version, bundle, default schedule and backend of every instance.",
        (Query(level("build_info", "max", "instance, version, bundle, schedule, backend")),),
        "string",
        "table",
    ),
)
