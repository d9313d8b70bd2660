// Questions made from the live graph.
import { useEffect, useRef, useState } from "preact/hooks";
import { keyOf, type Graph } from "../lib/graph";
import { check, question } from "../lib/quiz";
import * as store from "../lib/store";
import type * as T from "../types";
import { Workings } from "./parts";

interface Mark {
  right: boolean;
  said: string;
}

export function QuizTab({ graph, model }: { graph: Graph; model: T.Model }) {
  const { seed, question: number } = store.view.value;
  useEffect(() => {
    if (seed === null)
      store.show({ seed: 1 + Math.floor(Math.random() * 999_999), question: 0 }, true);
  }, [seed]);
  // The score belongs to one quiz on one network.
  const [marks, setMarks] = useState<ReadonlyMap<string, Mark>>(new Map());
  const [given, setGiven] = useState("");
  const [unclear, setUnclear] = useState(false);
  const field = useRef<HTMLInputElement>(null);
  const asked = seed === null ? null : question(graph, seed, number);
  const prefix = `${model.id} ${seed} `;
  const key = `${prefix}${number}`;
  const mark = marks.get(key);
  const scored = [...marks].filter(([one]) => one.startsWith(prefix)).map(([, one]) => one);

  useEffect(() => {
    setGiven("");
    setUnclear(false);
  }, [key]);
  const next = (): void => {
    store.show({ question: number + 1 });
    field.current?.focus();
  };
  // Enter checks an answer, and after that goes on.
  const submit = (event: Event): void => {
    event.preventDefault();
    if (!asked) return;
    if (mark) {
      next();
      return;
    }
    const right = check(asked, given);
    setUnclear(right === null);
    if (right === null) {
      field.current?.focus();
      return;
    }
    setMarks(new Map(marks).set(key, { right, said: given }));
  };
  return (
    <>
      <header class="title">
        <h2>Quiz</h2>
        <p class="muted">
          Made from the graph of {model.title} as it stands. Quiz {seed}, question {number + 1};
          right so far: {scored.filter((one) => one.right).length} of {scored.length}.
        </p>
      </header>
      {asked ? (
        <form class="quiz" onSubmit={submit}>
          <p class="prompt" id="quiz-prompt">
            {asked.prompt}
          </p>
          <ul class="given">
            {asked.given.map((line) => (
              <li key={line}>{line}</li>
            ))}
          </ul>
          <label>
            Your answer
            <input
              ref={field}
              type="text"
              autocomplete="off"
              spellcheck={false}
              value={mark ? mark.said : given}
              readOnly={mark !== undefined}
              aria-describedby="quiz-prompt quiz-example"
              aria-invalid={unclear}
              onInput={(event) => setGiven(event.currentTarget.value)}
            />
          </label>
          <p id="quiz-example" class="muted small">
            {asked.example}
          </p>
          {unclear && (
            <p class="message error" role="alert">
              {asked.answer.length === 1
                ? "One number is asked for."
                : `${asked.answer.length} numbers are asked for.`}
            </p>
          )}
          <div class="buttons">
            <button type="submit" class="primary">
              {mark ? "Next question" : "Check"}
            </button>
            {!mark && (
              <button type="button" onClick={next}>
                Skip
              </button>
            )}
          </div>
          <div aria-live="polite">
            {mark && (
              <div class={`verdict ${mark.right ? "right" : "wrong"}`}>
                <p>
                  <strong>{mark.right ? "Right." : "Not quite."}</strong> It is {asked.verdict}.
                </p>
                <Workings lines={asked.working} label="How it comes about" />
                <button
                  type="button"
                  class="link"
                  onClick={() =>
                    store.show({
                      block: keyOf(graph, { name: asked.layer, block: false }),
                      channel: null,
                      view: "block",
                    })
                  }
                >
                  Look at {asked.layer}
                </button>
              </div>
            )}
          </div>
        </form>
      ) : (
        seed !== null && (
          <p class="message">This network has no layers that a question could be made of.</p>
        )
      )}
      <p class="muted small">
        The address holds the quiz: whoever opens it gets the same questions.{" "}
        <button
          type="button"
          class="link"
          onClick={() => store.show({ seed: 1 + Math.floor(Math.random() * 999_999), question: 0 })}
        >
          Start another quiz
        </button>
      </p>
    </>
  );
}
