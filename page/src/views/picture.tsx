// The picture: samples, uploads and pastes, and what the network says of it.
import { useEffect, useRef, useState } from "preact/hooks";
import { api, pictureUrl } from "../lib/api";
import * as store from "../lib/store";
import { shape } from "../lib/numbers";
import type * as T from "../types";
import { Answer, useAsked } from "./asked";
import { NoPicture, Section, TopClasses, Untrained } from "./parts";

/** Send a file to our own server, and look at it. */
export async function upload(file: Blob, name: string): Promise<void> {
  store.say(`Sending ${name}.`);
  try {
    const limit = store.limits.value?.upload_bytes;
    if (limit !== undefined && file.size > limit)
      throw new Error(
        `${name} has ${(file.size / 1e6).toFixed(1)} MB; at most ${Math.floor(limit / 1e6)} MB are taken.`,
      );
    const picture = await api.upload(file, name);
    const { pictures } = await api.pictures();
    store.pictures.value = pictures.some((one) => one.id === picture.id)
      ? pictures
      : [...pictures, picture];
    store.show({ picture: picture.id });
    store.tell(
      picture.note
        ? `${picture.name}: ${picture.note}.`
        : `${picture.name} is here, ${shape([picture.width, picture.height])}.`,
    );
  } catch (error) {
    store.tell(store.messageOf(error) ?? "", "error");
  }
}

const uploadAll = async (files: Iterable<File>): Promise<void> => {
  for (const file of files) await upload(file, file.name || "pasted");
};

/** A picture can be pasted and dropped anywhere on the page. */
export function usePastes(): boolean {
  const [over, setOver] = useState(false);
  useEffect(() => {
    const paste = (event: ClipboardEvent): void => {
      const files = [...(event.clipboardData?.files ?? [])];
      if (!files.length) {
        const target = event.target as Element | null;
        if (!target?.matches("input, textarea"))
          store.tell("There is no picture on the clipboard.", "error");
        return;
      }
      event.preventDefault();
      void uploadAll(files);
    };
    const drag = (event: DragEvent): void => {
      if (![...(event.dataTransfer?.types ?? [])].includes("Files")) return;
      event.preventDefault();
      setOver(true);
    };
    const leave = (event: DragEvent): void => {
      if (event.relatedTarget === null) setOver(false);
    };
    const drop = (event: DragEvent): void => {
      setOver(false);
      const files = [...(event.dataTransfer?.files ?? [])];
      if (!files.length) return;
      event.preventDefault();
      void uploadAll(files);
    };
    document.addEventListener("paste", paste);
    document.addEventListener("dragover", drag);
    document.addEventListener("dragleave", leave);
    document.addEventListener("drop", drop);
    return () => {
      document.removeEventListener("paste", paste);
      document.removeEventListener("dragover", drag);
      document.removeEventListener("dragleave", leave);
      document.removeEventListener("drop", drop);
    };
  }, []);
  return over;
}

export function PictureTab({ model }: { model: T.Model }) {
  const picture = store.picture.value;
  const file = useRef<HTMLInputElement>(null);
  const asked = useAsked(
    picture && `${model.id} ${picture.id} ${JSON.stringify(store.cuts.value)}`,
    () => api.predict({ model: model.id, picture: picture!.id, cuts: store.cuts.value }),
  );
  return (
    <>
      <header class="title">
        <h2>{picture ? picture.name : "Picture"}</h2>
        <p class="muted">
          {picture && (
            <>
              {shape([picture.width, picture.height])} pixels
              {picture.label && <>, {picture.label}</>}
              {picture.note && <>; {picture.note}</>}
            </>
          )}
        </p>
      </header>
      {picture ? (
        <div class="seen">
          <figure>
            <img src={pictureUrl(picture.id)} alt={`${picture.name}, whole`} />
            <figcaption>the whole picture</figcaption>
          </figure>
          <figure>
            <img
              src={pictureUrl(picture.id, model.id)}
              alt={`${picture.name}, as ${model.title} sees it`}
            />
            <figcaption>
              as {model.title} sees it, {shape(model.input.slice(0, 2))}
            </figcaption>
          </figure>
        </div>
      ) : (
        <NoPicture />
      )}
      {picture && (
        <Section title="What the network says">
          <Untrained model={model} />
          {store.cuts.value.length > 0 && (
            <p class="message">Cuts of the ledger are in force: {store.cuts.value.length}.</p>
          )}
          <Answer asked={asked} what="Asking the network">
            {({ top, milliseconds }) => (
              <>
                <TopClasses top={top} label="Most probable classes" />
                <p class="muted small">
                  {milliseconds < 1 ? "under 1" : milliseconds.toFixed(0)} ms; {model.probabilities}
                  . Input: {model.preprocessing}
                </p>
              </>
            )}
          </Answer>
        </Section>
      )}
      <Section title="Another picture">
        <div class="take">
          <button type="button" class="primary" onClick={() => file.current?.click()}>
            Upload a picture
          </button>
          <input
            ref={file}
            type="file"
            class="hidden"
            tabIndex={-1}
            accept="image/*"
            multiple
            aria-label="Picture file"
            onChange={(event) => {
              const files = [...(event.currentTarget.files ?? [])];
              event.currentTarget.value = "";
              void uploadAll(files);
            }}
          />
          <span class="muted">
            or paste it, or drop it anywhere. It does not leave this computer.
          </span>
        </div>
        <div class="shelf" role="group" aria-label="Pictures">
          {store.pictures.value.map((one) => (
            <button
              type="button"
              key={one.id}
              aria-pressed={one.id === picture?.id}
              onClick={() => store.show({ picture: one.id })}
            >
              <img src={pictureUrl(one.id, model.id)} alt="" loading="lazy" />
              <span>{one.name}</span>
            </button>
          ))}
        </div>
      </Section>
    </>
  );
}
