// What every page runs. Each module improves what works without it.
import "./copy.js";
import "./clock.js";
import "./forms.js";
import "./typing.js";
import "./table.js";
import "./live.js";
