import { render } from "preact";
import "./drawing.css";
import "./style.css";
import { start } from "./lib/store";
import { App } from "./views/app";

render(<App />, document.getElementById("app")!);
void start();
